"""Push to and pull from any registry that speaks OCI distribution 1.1.

The client is our own, over httpx, since oras-py 0.2.43 reads a blob whole into memory to send it, checks no
digest of what it gets, knows no time limits, no mounts, no resumed uploads, no referrers and no indexes.

Credentials are those of `docker login`, unless `anonymous` is said; https everywhere but on this machine,
unless `insecure` is.
"""

from deployer.packager.registry.connection import Pace
from deployer.packager.registry.pull import pull
from deployer.packager.registry.push import Pushed, push
from deployer.packager.registry.reference import Reference

__all__ = ["Pace", "Pushed", "Reference", "pull", "push"]
