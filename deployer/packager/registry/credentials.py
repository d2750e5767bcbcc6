"""Who one is to a registry, as `docker login` left it: in Docker's config or with a credential helper."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployer.errors import RegistryUnavailable
from deployer.packager.registry.reference import HUB, Reference

_HUB_KEY = "https://index.docker.io/v1/"
_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"  # noqa: S105 - what helpers say instead of a user's name when the secret is a token
_PATIENCE = 20.0  # seconds that a credential helper may take


@dataclass(frozen=True)
class Credentials:
    """A user's name and password, or an identity token instead of both; neither is ever printed."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def find(reference: Reference) -> Credentials | None:
    """What Docker's config has for the registry; None when it has nothing."""
    config = _config()
    key = _HUB_KEY if reference.registry == HUB else reference.registry
    helper = _mapping(config.get("credHelpers")).get(reference.registry) or config.get("credsStore")
    if isinstance(helper, str) and helper and (found := _ask(helper, key, reference)):
        return found
    for address, entry in _mapping(config.get("auths")).items():
        if address in {key, reference.registry} or _host(address) == reference.registry:
            return _of_entry(_mapping(entry))
    return None


def _config() -> dict[str, Any]:
    folder = os.environ.get("DOCKER_CONFIG")
    path = (Path(folder) if folder else Path.home() / ".docker") / "config.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _host(address: str) -> str:
    """Of https://host/v1/, as old versions of Docker wrote it."""
    return address.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _of_entry(entry: Mapping[str, Any]) -> Credentials | None:
    token = str(entry.get("identitytoken") or "")
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            user, _, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except ValueError:  # no base64, or no text in it
            return None
    return Credentials(user, password.rstrip("\x00"), token) if user or token else None


def _ask(helper: str, key: str, reference: Reference) -> Credentials | None:
    """Ask `docker-credential-<helper>`; what it prints stays out of errors, since it may be a secret."""
    if not _HELPER.fullmatch(helper):
        return None
    program = f"docker-credential-{helper}"
    try:
        said = subprocess.run(  # noqa: S603 - the user's own config names the program
            [program, "get"], input=key.encode(), capture_output=True, timeout=_PATIENCE
        )
        told = json.loads(said.stdout) if said.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = f"{program} did not give the credentials ({type(error).__name__})"
        raise RegistryUnavailable(reference=str(reference), why=why) from None
    if not isinstance(told, dict) or not told.get("Secret"):
        return None
    user, secret = str(told.get("Username") or ""), str(told["Secret"])
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)
