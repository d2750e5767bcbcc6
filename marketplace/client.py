"""The shop's HTTP API as the command line uses it.

Address and key come from MARKET_URL and MARKET_KEY, else from the home's server.json, which the
running shop writes for its owner.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from marketplace.settings import load
from marketplace.terminal import language, problem_text, say

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

_SECONDS = 60.0


class Refused(Exception):
    """The shop (or a model server) answered with an error; `problem` is what it said."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(problem_text(problem))
        self.status, self.problem = status, problem


class Unreachable(Exception):
    """No shop answers; the text says where it was looked for and what to do."""


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    kind: str
    data: dict[str, Any]


class Shop:
    """A shop at `url`, entered with `key`."""

    def __init__(self, url: str, key: str) -> None:
        import httpx  # only commands that talk to a shop pay for it

        self.url = url.rstrip("/")
        near = urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")
        headers = {"Accept-Language": "zh-CN" if language() == "zh" else "en"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        # A proxy of the environment is for the world outside, not for the shop on this machine.
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=_SECONDS, trust_env=not near)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(self, method: str, path: str, *, timeout: float = _SECONDS, **options: Any) -> Any:
        """The JSON of an answer; raises Refused or Unreachable."""
        import httpx

        try:
            response = self._http.request(method, path, timeout=timeout, **options)
        except httpx.TransportError as error:
            raise Unreachable(_unreachable(self.url, error)) from None
        _check(response)
        try:
            return response.json() if response.content else {}
        except ValueError:
            raise Refused(response.status_code, {"title": _no_json(self.url)}) from None

    def download(self, path: str, target: "Path", report: Callable[[int, int], None]) -> None:
        """Write the body of an answer to a new file; raises Refused, Unreachable and OSError.

        `report` is told the bytes done and in all. Compression is not asked for: the length tells the end.
        """
        import httpx

        done, plain = 0, {"Accept-Encoding": "identity"}
        try:
            with (
                self._http.stream("GET", path, headers=plain, timeout=_SECONDS) as response,
                target.open("xb") as out,
            ):
                _check(response)
                total = int(response.headers.get("content-length", 0))
                for chunk in response.iter_bytes(1 << 20):
                    out.write(chunk)
                    done += len(chunk)
                    report(done, total)
        except httpx.TransportError as error:
            raise Unreachable(_unreachable(self.url, error)) from None

    def events(self, path: str, seconds: float = 3600.0) -> Iterator[Event]:
        """The events of a stream until it ends; goes on where it was after a broken connection."""
        import httpx

        last, end, pause = "", time.monotonic() + seconds, 0.1
        while time.monotonic() < end:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            try:
                with self._http.stream("GET", path, headers=headers, timeout=_SECONDS) as response:
                    _check(response)
                    for identity, event in _parse_events(response.iter_lines()):
                        last, pause = identity or last, 0.1
                        yield event
                        if event.kind == "end":
                            return
            except httpx.TransportError as error:
                if pause > 10:
                    raise Unreachable(_unreachable(self.url, error)) from None
            except Refused as refused:
                if refused.status != 503 or pause > 10:  # the gateway says that the shop starts again
                    raise
            time.sleep(pause)
            pause *= 1.7
        raise Refused(504, {"title": say("等待超时", "Waited too long"), "code": "wait-timeout"})


def locate() -> tuple[str, str]:
    """Address and key of the shop to talk to."""
    url, key = os.environ.get("MARKET_URL", ""), os.environ.get("MARKET_KEY", "")
    if url:
        return url, key
    settings = load()
    try:
        told = json.loads((settings.home / "server.json").read_text("utf-8"))
        return str(told["url"]), key or str(told["key"])
    except FileNotFoundError:
        raise Unreachable(_not_running(str(settings.home))) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"{settings.home / 'server.json'}: {error}"
        raise Unreachable(say(f"读不到商店的地址：{why}", f"Cannot read the shop's address: {why}")) from None


@contextmanager
def opened() -> Iterator[Shop]:
    """The shop to talk to."""
    shop = Shop(*locate())
    try:
        yield shop
    finally:
        shop.close()


def _check(response: "httpx.Response") -> None:
    if response.status_code < 400:
        return
    response.read()
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"title": f"HTTP {response.status_code}", "detail": response.text[:300].strip()}
    raise Refused(response.status_code, problem)


def _parse_events(lines: Iterator[str]) -> Iterator[tuple[str, Event]]:
    """Events of a stream, each with the last id that was given up to it."""
    identity, kind = "", "message"
    payload: list[str] = []
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "id":
            identity = value
        elif field == "data":
            payload.append(value)
        elif not line:
            if payload:
                yield identity, Event(kind, json.loads("\n".join(payload)))
            kind, payload = "message", []


def _unreachable(url: str, error: Exception) -> str:
    return say(
        f"连不上商店 {url}（{type(error).__name__}）。请先启动：market serve；或检查 MARKET_URL。",
        f"No shop answers at {url} ({type(error).__name__}). "
        "Start it with: market serve; or check MARKET_URL.",
    )


def _not_running(home: str) -> str:
    return say(
        f"主目录 {home} 上没有运行中的商店。请先启动：market serve；或设置 MARKET_URL 与 MARKET_KEY。",
        f"No shop runs on {home}. Start it with: market serve; or set MARKET_URL and MARKET_KEY.",
    )


def _no_json(url: str) -> str:
    return say(f"{url} 的回答不是 JSON", f"What answers at {url} does not speak JSON")
