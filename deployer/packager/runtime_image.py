"""The image that servers run in: base, packages and server; the model is mounted into it, or a layer more.

Each part is a layer of its own, made once per change of its inputs. The image that all deployments of a home
share holds what any task needs; made once however many start at the same time, and after that, knowing
that the engine has it takes milliseconds.
"""

import contextlib
import hashlib
import shutil
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from deployer.errors import DiskFull, PackagingFailed
from deployer.packager import base as bases
from deployer.packager import bytecode, engine, wheels, wheels_devices
from deployer.packager.base import Base
from deployer.packager.image import Image, assemble, read_image
from deployer.packager.layers import LOADED_LATE, NEVER_LOADED, Tree, file, from_wheels, layer
from deployer.packager.layout import ABANDONED, NO_ROOM, Descriptor, Layout
from deployer.spec import Progress, silent

if TYPE_CHECKING:
    import docker

REPOSITORY = "opc-market/runtime"
FORM = 4  # counts up when the image's form changes
PACKAGE = Path(__file__).parents[1]
STEPS = 4
CPU = "cpu"
LEFT_OUT = [NEVER_LOADED.pattern, LOADED_LATE.pattern]
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


def _packages(layout: Layout, base: Base, files: Sequence[Path]) -> Descriptor:
    contents = digests({path.name: path.read_bytes() for path in files})
    key = ["packages", FORM, LEFT_OUT, contents, bytecode.identity(base.python)]
    with ExitStack() as stack:

        def make() -> Tree:
            return bytecode.sourceless(from_wheels(files, "app/site", stack), base.python)

        try:
            return layer(layout, key, make)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            why = f"a wheel in {files[0].parent} is broken ({error}); remove it, and it is fetched again"
            raise PackagingFailed(image="packages", why=why) from error


def _server(layout: Layout, base: Base, sources: Mapping[str, bytes]) -> Descriptor:
    def make() -> Tree:
        tree = {f"app/deployer/{name}": file(content) for name, content in sources.items()}
        return tree | bytecode.compiled(tree, base.python)

    return layer(layout, ["server", FORM, digests(sources), bytecode.identity(base.python)], make)


def runtime_layers(
    layout: Layout,
    cache: Path,
    base: Base,
    arch: str,
    *,
    device: str = CPU,
    tasks: frozenset[str] | None = None,
    progress: Progress = silent,
    sources: Mapping[str, bytes] | None = None,
) -> tuple[Descriptor, ...]:
    """The layers below a model, from the bottom: base, packages (those that the tasks need), server.

    `sources` are those of the server, read already. Several may be made at once, in threads or processes.
    """
    progress(1, STEPS, "packages")
    wanted = wheels.wanted(tasks, None if device == CPU else wheels_devices.packages(device))
    everything = {name: version for group in wanted.values() for name, version in group.items()}
    fetched = dict(
        zip(everything, wheels.fetch(cache / "wheels", base.python, arch, everything), strict=True)
    )
    packages = [_packages(layout, base, [fetched[name] for name in group]) for group in wanted.values()]
    progress(2, STEPS, "server")
    server = _server(layout, base, server_sources() if sources is None else sources)
    return (*base.layers, *packages, server)


def settings(base: Base, device: str = CPU) -> dict[str, Any]:
    """The part of an image's config that says how it runs."""
    environment = {**base.environment, **ENVIRONMENT, **wheels_devices.environment(device)}
    return {**SETTINGS, "Env": [f"{name}={value}" for name, value in environment.items()]}


def build(
    layout: Layout, cache: Path, base: Base, sources: Mapping[str, bytes], arch: str, progress: Progress
) -> Image:
    """The image for all tasks in the layout, under its tag; the same inputs give the same digest."""
    layers = runtime_layers(layout, cache, base, arch, progress=progress, sources=sources)
    image = assemble(layout, layers, settings(base), arch=arch)
    layout.tag(image.manifest, image.tag(REPOSITORY))
    return image


def ensure_runtime_image(
    client: "docker.DockerClient", home: Path, base: str, progress: Progress, *, arch: str = ""
) -> str:
    """The tag of the runtime image, which the engine then has; made and loaded only when it has not.

    Raises PackagingFailed with the cause: no base, no packages, disk full, engine refuses.
    """
    arch = arch or engine.platform(client).architecture
    root = home / "images"
    try:
        layout = Layout(root)
        sources = server_sources()
        inputs = inputs_of(base, arch, sources)
        known = layout.recall(inputs)
        if known and engine.has(client, known["tag"]):
            progress(STEPS, STEPS, known["tag"])
            return str(known["tag"])
        with FileLock(str(root / ".lock")):
            image = _make(layout, home / "cache", inputs, sources, progress, client)
            tag = image.tag(REPOSITORY)
            if not engine.has(client, tag):  # whoever held the lock may have loaded it meanwhile
                progress(3, STEPS, "load")
                engine.load(client, layout, image, tag)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFull(path=str(home), needed=0, free=shutil.disk_usage(home).free) from error
        raise PackagingFailed(image=REPOSITORY, why=str(error)) from error
    progress(STEPS, STEPS, tag)
    return tag


def inputs_of(base: str, arch: str, sources: Mapping[str, bytes]) -> list[Any]:
    """What decides the runtime image of this release of the shop, as far as it is known beforehand."""
    return ["runtime", FORM, LEFT_OUT, base, arch, wheels.versions(), digests(sources)]


def make(layout: Layout, cache: Path, base: str, arch: str, progress: Progress = silent) -> Image:
    """The runtime image in the layout, with no engine: to be carried to where one is."""
    sources = server_sources()
    with FileLock(str(layout.root / ".lock")):
        return _make(layout, cache, inputs_of(base, arch, sources), sources, progress)


def adopt(layout: Layout, image: Image, bases: Sequence[str], arch: str) -> None:
    """Take an image that was made elsewhere, by this release of the shop, for the one of these bases."""
    tag = image.tag(REPOSITORY)
    layout.tag(image.manifest, tag)
    sources = server_sources()
    for base in bases:
        layout.remember(inputs_of(base, arch, sources), {"tag": tag, "digest": image.config.digest})


def _make(
    layout: Layout,
    cache: Path,
    inputs: list[Any],
    sources: Mapping[str, bytes],
    progress: Progress,
    client: "docker.DockerClient | None" = None,
) -> Image:
    """The image as it was made before, if it is whole, or made now; called under the lock."""
    # Whoever held the lock may have made it meanwhile, or it was carried here with all its layers.
    if (known := layout.recall(inputs)) and (image := _whole(layout, known["tag"])):
        return image
    wanted, arch = inputs[3:5]
    _sweep(layout, cache)
    progress(0, STEPS, "base")
    base = bases.find(layout, cache, wanted, arch, progress, client)
    image = build(layout, cache, base, sources, arch, progress)
    layout.remember(inputs, {"tag": image.tag(REPOSITORY), "digest": image.config.digest, "base": base.name})
    return image


def _whole(layout: Layout, tag: str) -> Image | None:
    manifest = layout.tagged(tag)
    if manifest is None or not layout.has(manifest):
        return None
    image = read_image(layout, manifest)
    return image if all(map(layout.has, image.layers)) else None


def _sweep(layout: Layout, cache: Path) -> None:
    """Remove what killed builds left half-written; under the lock, and old enough to be nobody's."""
    layout.sweep()
    for path in [*cache.glob("wheels/*/.fetch-*"), *cache.glob("debian*/.apt-*")]:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path)
