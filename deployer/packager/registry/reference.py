"""The name of something in a registry: its host, the repository there, and a tag or a digest."""

import ipaddress
import re
from dataclasses import dataclass

from deployer.errors import InvalidReference

HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?")
_WORD = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_WORD}(?:/{_WORD})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LONGEST = 512  # characters; hosts have at most 255, repositories too


@dataclass(frozen=True)
class Reference:
    """host[:port]/repository with a tag, a digest, or both; the digest is what counts then."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """As people write it, with or without oci://; a bare name is Docker Hub's, no tag is `latest`."""
        told = text.strip().removeprefix("oci://")
        name, at, digest = told.rpartition("@") if "@sha256:" in told else (told, "", "")
        registry, slash, path = name.partition("/")
        if not slash or not (set(".:") & set(registry) or registry == "localhost"):
            registry, path = HUB, name if slash else f"library/{name}"
        repository, _, tag = path.partition(":")
        sound = (
            len(told) <= _LONGEST
            and _REGISTRY.fullmatch(registry)
            and _REPOSITORY.fullmatch(repository)
            and (_TAG.fullmatch(tag) if ":" in path else True)
            and (_DIGEST.fullmatch(digest) if at else True)
        )
        if not sound:
            raise InvalidReference(reference=_without_secret(text))
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    def __str__(self) -> str:
        """As it is written, with the registry."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def target(self) -> str:
        """What the registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def host(self) -> str:
        """host[:port] that answers for the registry."""
        return _HUB_HOST if self.registry == HUB else self.registry

    @property
    def loopback(self) -> bool:
        """Whether the registry runs on this machine, where nobody listens in between."""
        name = self.registry if self.registry.endswith("]") else self.registry.rpartition(":")[0]
        name = (name or self.registry).strip("[]")
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name == "localhost" or name.endswith(".localhost")


def _without_secret(text: str) -> str:
    """What may be shown of a refused text: people paste user:password@host."""
    before, at, after = text.partition("@")
    told = f"…@{after}" if at and not after.startswith("sha256:") else text
    return told[:200] if before or not at else after[:200]
