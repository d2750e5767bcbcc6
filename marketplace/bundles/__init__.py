"""Air-gap bundles: listings with all that runs them in one file, for a machine that reaches nothing.

A bundle is a tar. First comes `bundle.json`, the table of every file that follows with its size and SHA-256;
then the signature over that table, and the key that it is by; then the files in the table's order. So it is
written and read in one stream, and nothing is believed before its digest was seen:

| below | lies |
|---|---|
| `install.sh` | sets the shop up out of the bundle on a machine that has Python alone |
| `source/`, `wheels/` | the shop itself, and the packages that it stands on |
| `blobs/` | the files of the versions, by SHA-256 |
| `releases/` | each version's manifest, words, licences and provenance |
| `images/` | the runtime image as an OCI layout |
| `licenses/` | under what terms each version is had |

`making` writes one, `reading` checks and unpacks one, `installing` brings its contents into a home, and
`acceptance` deploys them and holds the answers against the examples.
"""
