"""HTTP to one repository of a registry: signed in, redirected, tried again, and refused in its own words.

The password and the token go to the registry's own origin alone, whatever a redirect or a Location says,
and no address is shown or logged with its query, since stores sign their addresses there.
"""

import contextlib
import email.utils
import http
import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

import httpx

from deployer.errors import RegistryError, RegistryRefused, RegistryUnavailable
from deployer.packager.registry import authority, credentials
from deployer.packager.registry.reference import Reference

Body = Callable[[], Iterator[bytes]]
"""Gives the bytes of a request from their beginning; asked again when they have to be sent again."""
Result = TypeVar("Result")

LARGEST = 4 << 20  # bytes of a manifest or of any other answer that is read whole
_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}
_PASSING = {408, 429, 500, 502, 503, 504}
_LONGEST_WAIT = 60.0  # seconds; a registry that wants more is told to the user instead
_TOLD = 64 << 10  # bytes of a refusal that are looked at


@dataclass(frozen=True)
class Pace:
    """How patiently and in which pieces a registry is spoken to."""

    tries: int = 5
    """Of one request, or of one piece of a blob."""
    pause: float = 0.5
    """Seconds before the second try, doubled for each further one."""
    silence: float = 60.0
    """Seconds without a byte after which a connection counts as broken."""
    chunk: int = 64 << 20
    """Bytes of a blob sent in one request: what a broken connection can cost."""


@dataclass(frozen=True)
class Answer:
    """A whole answer, its content at most LARGEST bytes."""

    status: int
    headers: httpx.Headers
    content: bytes
    location: httpx.URL | None
    """Where the Location header leads, when there is one."""


class Broken(Exception):
    """A request that may succeed when sent again; `refusal` is what to say when it never does."""

    def __init__(self, refusal: RegistryError, wait: float = 0.0) -> None:
        self.refusal = refusal
        self.wait = wait
        super().__init__(str(refusal))


class _WithoutQuery(logging.Filter):
    """httpx logs every address that it calls; this leaves out what stands behind the question mark."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.copy_with(query=None) if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_WithoutQuery())


class Connection:
    """Speaks for one repository and may be used by several threads; close it by leaving its context."""

    def __init__(
        self,
        reference: Reference,
        repositories: Mapping[str, str],
        *,
        insecure: bool,
        pace: Pace,
        transport: httpx.BaseTransport | None = None,
        anonymous: bool = False,
    ) -> None:
        """`repositories` says what is done where: {"a/b": "pull,push"}; `transport` replaces httpx's own.

        `anonymous` leaves the credentials of `docker login` out.
        """
        self.reference = reference
        self.pace = pace
        self._plain = insecure or reference.loopback
        scheme = "http" if self._plain else "https"
        self.base = httpx.URL(f"{scheme}://{reference.host}/v2/{reference.repository}/")
        self._repositories = repositories
        self._client = httpx.Client(
            headers={"User-Agent": authority.CLIENT, "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(pace.silence, connect=min(10.0, pace.silence)),
            trust_env=transport is None and not reference.loopback,
            transport=transport,
        )
        self._anonymous = anonymous
        self._authorization = ""
        self._signing_in = threading.Lock()
        self._denied: RegistryRefused | None = None
        self._reached = False

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(
        self,
        method: str,
        address: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        expected: Collection[int] = (200,),
    ) -> Answer:
        """Ask until there is an answer; addresses are relative to the repository."""
        return self.again(
            lambda: self.ask_once(method, address, headers=headers, body=body, expected=expected)
        )

    def ask_once(
        self,
        method: str,
        address: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        expected: Collection[int] = (200,),
    ) -> Answer:
        """Ask a single time; raises Broken where another try may help."""
        with self.opened(method, address, headers=headers, body=body, expected=expected) as response:
            content = b""
            for part in response.iter_raw():
                content += part
                if len(content) > LARGEST:
                    raise self.refused(response.status_code, f"an answer of more than {LARGEST} bytes")
            location = self._located(response) if "Location" in response.headers else None
            return Answer(response.status_code, response.headers, content, location)

    @contextlib.contextmanager
    def opened(
        self,
        method: str,
        address: str | httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        expected: Collection[int] = (200,),
    ) -> Iterator[httpx.Response]:
        """The answer with its content still to be read; other statuses are refusals, a cut is Broken."""
        try:
            with contextlib.closing(self._followed(method, address, headers or {}, body)) as response:
                if response.status_code not in expected:
                    raise self._refusal(response)
                yield response
        except httpx.TransportError as error:
            raise self._cut(error) from None

    def again(self, attempt: Callable[[], Result]) -> Result:
        """Try until it is not Broken; the last refusal when it always is."""
        for tried in range(1, self.pace.tries):
            try:
                return attempt()
            except Broken as broken:
                self.rest(broken, tried)
        try:
            return attempt()
        except Broken as broken:
            raise broken.refusal from None

    def rest(self, broken: Broken, tried: int) -> None:
        """Wait before the next try, or give up with the refusal after too many."""
        if tried >= self.pace.tries:
            raise broken.refusal from None
        time.sleep(max(broken.wait, self.pace.pause * 2 ** (tried - 1)))

    def refused(self, status: int, why: str) -> RegistryRefused:
        """A refusal that speaks of this reference."""
        return RegistryRefused(reference=str(self.reference), status=status, why=why)

    def _followed(
        self, method: str, address: str | httpx.URL, headers: Mapping[str, str], body: Body | None
    ) -> httpx.Response:
        url = self._allowed(self.base.join(address), 0)
        for _ in range(_REDIRECTS):
            response = self._signed_in(method, url, headers, body)
            kept = response.status_code in {307, 308} or method in {"GET", "HEAD"}
            if response.status_code not in _MOVED or not kept:
                return response
            with contextlib.closing(response):
                url = self._located(response)
        raise self.refused(response.status_code, "it redirects in circles")

    def _located(self, response: httpx.Response) -> httpx.URL:
        """Where the answer leads."""
        try:
            url = response.url.join(response.headers["Location"])
        except (KeyError, httpx.InvalidURL):
            raise self.refused(response.status_code, "it leads to no address") from None
        return self._allowed(url, response.status_code)

    def _allowed(self, url: httpx.URL, status: int) -> httpx.URL:
        """Never from https to an address where everybody can read along."""
        if url.scheme != "https" and not (self._plain and url.scheme == "http"):
            raise self.refused(status, "it leads to an address without https")
        return url

    def _signed_in(
        self, method: str, url: httpx.URL, headers: Mapping[str, str], body: Body | None
    ) -> httpx.Response:
        ours = (url.scheme, url.host, url.port) == (self.base.scheme, self.base.host, self.base.port)
        used = self._authorization if ours else ""
        response = self._send(method, url, headers, body, used)
        if response.status_code != 401 or not ours:
            return response
        with contextlib.closing(response):
            renewed = self._sign_in(response, used)
        return self._send(method, url, headers, body, renewed)

    def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str,
    ) -> httpx.Response:
        signed = {"Authorization": authorization} if authorization else {}
        content = body() if body else None
        request = self._client.build_request(method, url, headers={**headers, **signed}, content=content)
        response = self._client.send(request, stream=True, auth=None)
        self._reached = True
        return response

    def _sign_in(self, response: httpx.Response, used: str) -> str:
        """Answer the challenge, once for all threads that met it: many wrong passwords lock accounts."""
        with self._signing_in:
            if self._denied:
                raise self._denied
            if self._authorization == used:
                try:
                    self._authorization = self._answered(response)
                except RegistryRefused as refused:
                    self._denied = refused
                    raise
            return self._authorization

    def _answered(self, response: httpx.Response) -> str:
        offered = authority.challenges(response.headers)
        known = None if self._anonymous else credentials.find(self.reference)
        if (told := offered.get("bearer")) and told.get("realm"):
            return f"Bearer {self._token(told, known)}"
        if "basic" in offered and known and known.user:
            return known.basic
        raise self.refused(401, f"no credentials for {self.reference.registry}: {_said(response)}")

    def _token(self, told: Mapping[str, str], known: credentials.Credentials | None) -> str:
        try:
            scopes = authority.scopes_for(told, self._repositories)
            request = authority.token_request(self._client, told, scopes, known)
        except httpx.InvalidURL:
            raise self.refused(401, "its tokens are to be had at no address") from None
        self._allowed(request.url, 401)
        with contextlib.closing(self._client.send(request, stream=True, auth=None)) as response:
            if response.status_code != 200:
                raise self._refusal(response)
            try:
                found = json.loads(_head(response, LARGEST))
                token = found.get("token") or found.get("access_token")
            except (ValueError, AttributeError):
                token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self.refused(401, "it gave no token")
        return token

    def _refusal(self, response: httpx.Response) -> Exception:
        refused = self.refused(response.status_code, _said(response))
        wait = _wanted_wait(response.headers)
        passing = response.status_code in _PASSING and wait <= _LONGEST_WAIT
        return Broken(refused, wait) if passing else refused

    def _cut(self, error: httpx.TransportError) -> Exception:
        """A registry that never answered is down; one that did may answer again."""
        why = str(error) or {"ReadTimeout": "no answer in time"}.get(
            type(error).__name__, type(error).__name__
        )
        unavailable = RegistryUnavailable(reference=str(self.reference), why=why[:200])
        lasting = isinstance(error, httpx.UnsupportedProtocol) or "CERTIFICATE" in why
        return Broken(unavailable) if self._reached and not lasting else unavailable


def _head(response: httpx.Response, limit: int) -> bytes:
    content = b""
    for part in response.iter_raw():
        content += part
        if len(content) >= limit:
            break
    return content[:limit]


def _said(response: httpx.Response) -> str:
    """The registry's own message, as CODE: words; the status in words when it says nothing."""
    phrase = (
        http.HTTPStatus(response.status_code).phrase if response.status_code in _STATUSES else "no reason"
    )
    try:
        first = json.loads(_head(response, _TOLD))["errors"][0]
        words = [str(first.get(key) or "") for key in ("code", "message")]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, httpx.TransportError):
        return phrase
    told = ": ".join(filter(None, words))[:300]
    return "".join(letter for letter in told if letter.isprintable()) or phrase


_STATUSES = {int(status) for status in http.HTTPStatus}


def _wanted_wait(headers: httpx.Headers) -> float:
    """Seconds that Retry-After asks for, as a number or as a date."""
    told = headers.get("Retry-After", "")
    if told.isdecimal():
        return float(told[:6])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except ValueError:
        return 0.0
