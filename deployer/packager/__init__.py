"""How a server becomes an image without a daemon: base, packages, server, as deterministic OCI layers.

The walk: `base` gives a root file system, `wheels` the packages that the server imports, `layers` turns
both into tar files whose bytes depend on nothing but their content, `layout` keeps them by digest,
`image` writes config and manifest, `engine` hands an engine what it lacks, and `runtime_image` goes
the whole way once per change. The same inputs give the same digest on any machine.
"""
