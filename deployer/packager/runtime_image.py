"""The image that all deployments share: base, packages and server; the model is mounted into it.

Made once per change of its inputs, however many start at the same time; after that, knowing that the
engine has it takes milliseconds.
"""

import contextlib
import hashlib
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from deployer.errors import PackagingFailed
from deployer.packager import base as bases
from deployer.packager import bytecode, engine, wheels
from deployer.packager.base import Base
from deployer.packager.image import Image, assemble
from deployer.packager.layers import Tree, file, from_wheels, layer
from deployer.packager.layout import Descriptor, Layout
from deployer.spec import Progress

if TYPE_CHECKING:
    import docker

REPOSITORY = "opc-market/runtime"
FORM = 2  # counts up when the image's form changes
PACKAGE = Path(__file__).parents[1]
STEPS = 4
USER = "65532:65532"
SETTINGS = {
    "User": USER,
    "WorkingDir": "/app",
    "Entrypoint": ["python3", "-P", "-s", "-m", "deployer.server"],
    "Labels": {"org.opencontainers.image.title": "OPC Market runtime"},
}
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": "/app:/app/site",
}


def server_sources() -> dict[str, bytes]:
    """The sources that go into the image, by their path under the package; read anew each time."""
    modules = (PACKAGE / "server").rglob("*.py")
    names = ["__init__.py", *sorted(str(path.relative_to(PACKAGE)) for path in modules)]
    return {name: (PACKAGE / name).read_bytes() for name in names}


def digests(contents: Mapping[str, bytes]) -> dict[str, str]:
    """sha256 of each content, by name."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def _packages(layout: Layout, cache: Path, base: Base, arch: str) -> Descriptor:
    fetched = wheels.fetch(cache / "wheels", base.python, arch)
    contents = digests({path.name: path.read_bytes() for path in fetched})
    with ExitStack() as stack:

        def make() -> Tree:
            tree = from_wheels(fetched, "app/site", stack)
            return tree | bytecode.compiled(tree, base.python)

        key = ["packages", FORM, contents, bytecode.identity(base.python)]
        return layer(layout, key, make)


def _server(layout: Layout, base: Base, sources: Mapping[str, bytes]) -> Descriptor:
    def make() -> Tree:
        tree = {f"app/deployer/{name}": file(content) for name, content in sources.items()}
        return tree | bytecode.compiled(tree, base.python)

    return layer(layout, ["server", FORM, digests(sources), bytecode.identity(base.python)], make)


def build(
    layout: Layout, cache: Path, base: Base, sources: Mapping[str, bytes], arch: str, progress: Progress
) -> Image:
    """The image in the layout, under its tag; the same inputs give the same digest."""
    progress(1, STEPS, "packages")
    packages = _packages(layout, cache, base, arch)
    progress(2, STEPS, "server")
    server = _server(layout, base, sources)
    environment = {**base.environment, **ENVIRONMENT}
    settings = {**SETTINGS, "Env": [f"{name}={value}" for name, value in environment.items()]}
    image = assemble(layout, (*base.layers, packages, server), settings, arch=arch)
    layout.tag(image.manifest, image.tag(REPOSITORY))
    return image


def engine_arch(client: "docker.DockerClient") -> str:
    """The engine's architecture as images name it."""
    said = str(client.api.version().get("Arch", "amd64"))
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(said, said)


def ensure_runtime_image(
    client: "docker.DockerClient", home: Path, base: str, progress: Progress, *, arch: str = ""
) -> str:
    """The tag of the runtime image, which the engine then has; made and loaded only when it has not.

    Raises PackagingFailed with the cause: no base, no packages, disk full, engine refuses.
    """
    arch = arch or engine_arch(client)
    root = home / "images"
    try:
        layout = Layout(root)
        sources = server_sources()
        inputs = ["runtime", FORM, base, arch, wheels.versions(), digests(sources)]
        known = layout.recall(inputs)
        if known and engine.has(client, known["tag"]):
            progress(STEPS, STEPS, known["tag"])
            return str(known["tag"])
        with FileLock(str(root / ".lock")):
            return _make(client, home, layout, inputs, sources, progress)
    except OSError as error:
        raise PackagingFailed(image=REPOSITORY, why=str(error)) from error


def _make(
    client: "docker.DockerClient",
    home: Path,
    layout: Layout,
    inputs: list[Any],
    sources: Mapping[str, bytes],
    progress: Progress,
) -> str:
    wanted, arch = inputs[2:4]
    # Whoever held the lock may have made it meanwhile.
    known = layout.recall(inputs)
    if known and engine.has(client, known["tag"]):
        return str(known["tag"])
    _sweep(layout.root)
    progress(0, STEPS, "base")
    cache = home / "cache"
    name = bases.choose(client, wanted)
    if name == bases.ASSEMBLED:
        base = bases.assembled(layout, cache, arch)
    else:
        base = bases.from_engine(client, layout, name, progress)
    image = build(layout, cache, base, sources, arch, progress)
    tag = image.tag(REPOSITORY)
    progress(3, STEPS, "load")
    if not engine.has(client, tag):
        engine.load(client, layout, image, tag)
    layout.remember(inputs, {"tag": tag, "digest": image.config.digest, "base": base.name})
    progress(STEPS, STEPS, tag)
    return tag


def _sweep(root: Path) -> None:
    """Remove what a killed build left half-written; under the lock, and old enough to be nobody's."""
    for pattern in (".blob-*", ".file-*"):
        for path in root.glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 3600:
                    path.unlink()
