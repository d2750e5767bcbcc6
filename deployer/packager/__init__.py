"""How a release becomes an image or an artifact without a daemon: deterministic layers, signed, with a bill.

The walk:

- `release` says what is packaged and where. `base` gives a root file system, `wheels` (`wheels_devices` for
  accelerators) the packages that the server imports, `parts` the files of the release.
- `layers` turns them into tar files whose bytes depend on nothing but their content, `elf` and `bytecode`
  without what no server loads. `layout` keeps them by digest, `image` writes config, manifest and index.
- `runtime_image` is what all deployments of a home share, the model mounted into it; `sealed` is an image
  with its model in it, whose words `described` asks the server for; `modelpack` is the same weights as an
  artifact that other tools read.
- `provenance`, `bom` and `attestation` say and sign where it came from and what is in it, `referrers`
  attaches that; `opening` and `evidence` gather what anything holds, and `verify` judges it.
- `engine` hands an engine what it lacks, `registry` does so with registries; `output` carries an `archive` or
  a folder away and reads it back without trust.

The same inputs give the same digest; the Debian packages, the wheels and the interpreter that compiles are
among them.
"""
