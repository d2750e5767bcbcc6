"""The shop itself for a bundle: its own source, and wheels of all that it stands on.

The wheels are those of the environment that this shop runs in, version by version: what was tested here is
what runs there. They are fetched once into the home's cache, through the index that pip is set up with.
"""

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from deployer.spec import Progress, silent
from marketplace.bundles.contents import refuse
from marketplace.bundles.writing import Part

PROJECT = "opc-market"
ROOT = Path(__file__).resolve().parents[2]
FILES = ("pyproject.toml", "constraints.txt", "Makefile", "README.md", "README.zh.md", "ARCHITECTURE.md")
FOLDERS = ("catalog", "deployer", "marketplace", "web")
LEFT_OUT = {"__pycache__", "node_modules", ".mypy_cache", ".ruff_cache"}
INSTALLER = Path(__file__).with_name("install.sh")


def architecture() -> str:
    """This machine's, as images name it."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    return names.get(platform.machine().lower(), platform.machine().lower())


def machine() -> dict[str, str]:
    """For which machines the wheels of this one are."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "platform": f"linux/{architecture()}"}


def source() -> dict[str, Part]:
    """The shop's own files below source/; raises BundleRefused where it does not run from its source."""
    if not (ROOT / "pyproject.toml").is_file():
        why = "the shop does not run from its source folder, so it cannot be carried along"
        refuse("source", f"{why}; use --no-shop", "商店不是从源码目录运行的，无法一并带走；请加 --no-shop")
    found = [ROOT / name for name in FILES if (ROOT / name).is_file()]
    for folder in FOLDERS:
        found += sorted(_files_below(ROOT / folder))
    parts = {f"source/{path.relative_to(ROOT).as_posix()}": _part(path) for path in found}
    return parts | {"install.sh": _part(INSTALLER, mode=0o755)}


def _part(path: Path, mode: int = 0o644) -> Part:
    return Part(path.read_bytes(), mode)


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        # Hidden files are somebody's own: settings of an editor, keys in an .env.
        if path.name in LEFT_OUT or path.name.startswith(".") or path.is_symlink():
            continue
        if path.is_dir():
            yield from _files_below(path)
        elif path.suffix not in (".pyc", ".mo"):
            yield path


def requirements() -> list[Requirement]:
    """What the shop stands on in the versions that are installed here, and what installs it."""
    exact: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    ask = [(PROJECT, "")]
    while ask:
        wanted = ask.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        name, extra = wanted
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            refuse(
                "wheels",
                f"{name} is not installed here; use --no-shop",
                f"本机没有安装 {name}；请加 --no-shop",
            )
        exact[name] = distribution.version
        for inner in map(Requirement, distribution.requires or ()):
            if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                ask += [(canonicalize_name(inner.name), each) for each in ("", *inner.extras)]
    del exact[PROJECT]
    described = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    builders = [Requirement(text) for text in described["build-system"]["requires"]]
    built = {canonicalize_name(each.name) for each in builders}
    return builders + [Requirement(f"{n}=={v}") for n, v in sorted(exact.items()) if n not in built]


def wheels(cache: Path, progress: Progress = silent) -> dict[str, Part]:
    """The wheels below wheels/, fetched where they are not there yet; raises BundleRefused."""
    wanted = requirements()
    folder = cache / "shop-wheels"
    folder.mkdir(parents=True, exist_ok=True)
    if missing := [each for each in wanted if _kept(folder, each) is None]:
        progress(0, 0, f"pip: {len(missing)}")
        _fetch(folder, missing)
    kept = {each.name: _kept(folder, each) for each in wanted}
    if lost := sorted(name for name, wheel in kept.items() if wheel is None):
        named = ", ".join(lost)
        refuse("wheels", f"the index has no wheel of {named}", f"软件源里没有 {named} 的 wheel")
    return {f"wheels/{wheel.name}": Part(wheel) for wheel in kept.values() if wheel}


def _kept(folder: Path, wanted: Requirement) -> Path | None:
    for path in sorted(folder.glob("*.whl")):
        found, number, _, _ = parse_wheel_filename(path.name)
        # One that a fall of the power left empty or short is fetched again.
        fits = found == canonicalize_name(wanted.name) and number in wanted.specifier
        if fits and zipfile.is_zipfile(path):
            return path
    return None


def _fetch(folder: Path, missing: list[Requirement]) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as partial:
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
            *("--disable-pip-version-check", "--no-input", "--dest", partial),
            *map(str, missing),
        ]
        done = subprocess.run(  # noqa: S603 (pip of our own environment)
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            refuse("wheels", f"pip could not fetch them: {why}", f"pip 下载失败：{why}")
        for wheel in sorted(Path(partial).glob("*.whl")):
            wheel.replace(folder / wheel.name)
