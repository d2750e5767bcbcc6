"""What is still on its way to the shelf: a shop answers at once, and its shelf fills for some minutes."""

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from marketplace.cli.options import FAILED
from marketplace.terminal import hint, problem_text, say

if TYPE_CHECKING:
    from marketplace.client import Shop

Answer = TypeVar("Answer")

LOOK = 0.5  # seconds between two looks at the shelf
ON_ITS_WAY = ("waiting", "fetching", "building")


def once_listed(shop: "Shop", listing: str, wait: bool, timeout: float, ask: Callable[[], Answer]) -> Answer:
    """What `ask` gives. Where the shelf has the listing yet to come it is waited for, or told."""
    from marketplace.client import Refused

    try:
        return ask()
    except Refused as refusal:
        name = listing.partition("@")[0]
        if refusal.problem.get("code") != "unknown-listing" or not _coming(shop, name):
            raise
    _await(shop, name, timeout if wait else 0.0)
    return ask()


def _coming(shop: "Shop", name: str) -> bool:
    return any(item["name"] == name for item in shop.call("GET", "/api/shelf")["items"])


def _await(shop: "Shop", name: str, timeout: float) -> None:
    """Return when the listing is there; end the command when it fails or the time is up."""
    end, told = time.monotonic() + timeout, ""
    while True:
        shelf: dict[str, Any] = shop.call("GET", "/api/shelf")
        item = next(each for each in shelf["items"] if each["name"] == name)
        if item["state"] not in ON_ITS_WAY:
            break
        count = f"{shelf['ready']}/{shelf['total']}"
        if time.monotonic() >= end:
            hint(
                f"{name} 还在上架（货架 {count}）。加 --wait 等它，或稍后再试。"
                "进度：market doctor --wait-shelf",
                f"{name} is on its way to the shelf, which has {count}. "
                "Wait for it with --wait, or try again in a while. Progress: market doctor --wait-shelf",
            )
            sys.exit(FAILED)
        if count != told:
            told = count
            line = say(f"{name} 还在上架，货架 {count} …", f"{name} is on its way to the shelf: {count} …")
            hint(line, line)
        time.sleep(LOOK)
    if item["error"]:
        said = problem_text(item["error"])
        hint(f"{name} 上架失败。{said}", f"{name} could not be shelved. {said}")
        sys.exit(FAILED)
