"""The browser's scripts are the locked ones, and the lock names no registry."""

import json

from marketplace import assets
from marketplace.pages import static


def test_lock_pins_scripts_and_holds_no_address() -> None:
    text = (assets.WEB / "package-lock.json").read_text()
    lock = json.loads(text)
    assert lock["packages"]["node_modules/htmx.org"]["version"] == "4.0.1"
    assert "resolved" not in text
    assert "http" not in text
    assert all(p.get("integrity") for name, p in lock["packages"].items() if name)


def test_static_files_are_named_by_their_content() -> None:
    url = static.static_url("market.css")
    asset = static.assets()["market.css"]
    assert url == f"/static/market.css?v={asset.digest}"
    assert len(asset.compressed) < len(asset.content) / 2


def test_style_and_script_hold_nothing_from_elsewhere() -> None:
    for name in ("market.css", "market.js"):
        assert b"http" not in static.assets()[name].content


def test_extension_comes_in_the_same_file_as_htmx() -> None:
    """htmx sets the page up in a task of its own; a second file may come after that."""
    assets.install()
    assert "htmx.js" in assets.copy()
    script = (assets.VENDOR / "htmx.js").read_text(encoding="utf-8")
    assert script.index("var htmx=") < script.index('registerExtension("sse"')
    assert "sourceMappingURL" not in script
