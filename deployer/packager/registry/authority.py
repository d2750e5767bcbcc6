"""How a registry's challenge is answered: with the password, or with a token that the password buys."""

import re
from collections.abc import Mapping

import httpx

from deployer.packager.registry.credentials import Credentials

CLIENT = "opc-market"
_CHALLENGE = re.compile(r'([A-Za-z]+)\s+((?:[\w-]+\s*=\s*(?:"[^"]*"|[^\s,"]+)(?:\s*,\s*)?)+)')
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


def challenges(headers: httpx.Headers) -> dict[str, dict[str, str]]:
    """The ways to sign in that an answer names: scheme in small letters → its parameters."""
    found: dict[str, dict[str, str]] = {}
    for line in headers.get_list("WWW-Authenticate"):
        for scheme, rest in _CHALLENGE.findall(line):
            told = {name.lower(): quoted or bare for name, quoted, bare in _PARAMETER.findall(rest)}
            found.setdefault(scheme.lower(), told)
    return found


def token_request(
    client: httpx.Client, told: Mapping[str, str], scopes: list[str], known: Credentials | None
) -> httpx.Request:
    """The request that buys a token for the scopes at the challenge's realm."""
    asked = {"service": told["service"]} if told.get("service") else {}
    if known and known.identity_token:
        form = asked | {
            "grant_type": "refresh_token",
            "client_id": CLIENT,
            "refresh_token": known.identity_token,
            "scope": " ".join(scopes),
        }
        return client.build_request("POST", told["realm"], data=form)
    headers = {"Authorization": known.basic} if known else {}
    query = httpx.QueryParams([*asked.items(), ("client_id", CLIENT), *(("scope", s) for s in scopes)])
    return client.build_request("GET", httpx.URL(told["realm"]).copy_merge_params(query), headers=headers)


def scopes_for(told: Mapping[str, str], repositories: Mapping[str, str]) -> list[str]:
    """Ours (repository → actions), and the challenge's own where it speaks of something else."""
    wanted = [f"repository:{name}:{actions}" for name, actions in sorted(repositories.items())]
    ours = {scope.rpartition(":")[0] for scope in wanted}
    return wanted + [s for s in told.get("scope", "").split() if s.rpartition(":")[0] not in ours]
