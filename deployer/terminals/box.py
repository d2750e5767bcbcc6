"""Edge boxes and servers that stand alone: the sealed image with all that installs it, in one folder.

The image lies there once for every platform, as an OCI layout whose weights they share; the installer hands
the engine what its processor needs. All ways to run it (engine, systemd, Quadlet, compose) have the same
confinement. Names of strangers stand in scripts and units, so they are cut down to letters, digits and signs
that mean nothing there.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from deployer import examples
from deployer.packager import bom, output, sealed
from deployer.packager.archive import blob_path, index_json, named
from deployer.packager.image import PLATFORMS, Image, Platform
from deployer.packager.layout import Descriptor, Layout, canonical, roomy, write_whole
from deployer.packager.release import Release, Workshop
from deployer.packager.runtime_image import USER
from deployer.spec import Limits, Progress
from deployer.terminals.phone_source import line

HERE = Path(__file__).parent / "box"
MEGABYTE = 1 << 20
TMPFS = "/tmp:rw,size=16m,mode=1777,noexec,nosuid,nodev"  # noqa: S108 (in the container)
RUNNABLE = ("install.sh", "uninstall.sh", "ask.sh")


class _Template(Template):
    """@{name}, since shells have the dollar for themselves; @@ stands for @."""

    delimiter = "@"


def supports(release: Release) -> None:
    """Whatever is served is served on a box too."""


def build(
    workshop: Workshop,
    release: Release,
    folder: Path,
    progress: Progress,
    *,
    platforms: Sequence[Platform] = PLATFORMS,
) -> dict[str, Any]:
    """Fill an empty folder with image, units, compose file and installer; returns facts.

    Raises what `deployer.packager.sealed.seal` raises.
    """
    made = sealed.seal(workshop, release, platforms=platforms, progress=progress)
    service, image = _service(release), _reference(made.name)
    with roomy(folder):
        output.to_folder(made.layout, made.root, folder / "image", image)
        for one in made.images:
            _for_engine(made.layout, one, folder / "image" / one.platform.architecture, image)
        words = _words(release, service, image, made.images)
        _fill(folder, service, words)
        example = json.dumps(_example(release))
        checker = Path(examples.__file__).read_text(encoding="utf-8")
        asking = _Template((HERE / "ask.py.in").read_text(encoding="utf-8"))
        asked = asking.substitute(words | {"example": repr(example)})
        write_whole(folder / "ask.py", (checker + asked).encode())
        for path in folder.rglob("*"):
            if path.is_file() and path.parent.name != "sha256":  # blobs are the home's own files
                path.chmod(0o755 if path.name in RUNNABLE else 0o644)
    return {
        "service": service,
        "image": image,
        "root": made.root.digest,
        "platforms": [str(one.platform) for one in made.images],
        "memory": _memory(release),
        "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        "packages": [found.purl for found in bom.contents_of(made.layout, _layers(made.images))],
    }


def _layers(images: Sequence[Image]) -> list[Descriptor]:
    """The layers of all platforms, each once."""
    return list({layer.digest: layer for image in images for layer in image.layers}.values())


def _service(release: Release) -> str:
    """The name of container and unit."""
    plain = re.sub(r"[^a-z0-9]+", "-", release.slug.lower()).strip("-")
    return f"market-{plain or 'model'}"[:60].rstrip("-")


def _reference(name: str) -> str:
    """The image's name, of what registries allow."""
    repository, _, tag = name.lower().rpartition(":")
    parts = [re.sub(r"[^a-z0-9]+", "-", part).strip("-") for part in repository.split("/")]
    clean = re.sub(r"[^a-z0-9_.-]+", "-", tag).strip("-.")
    return f"{'/'.join(filter(None, parts)) or 'model'}:{clean or 'latest'}"


def _memory(release: Release) -> int:
    """Bytes that the container may take: as a deployment, and room for large weights."""
    wanted = max(Limits().memory, 3 * release.size + 512 * MEGABYTE)
    return -(-wanted // MEGABYTE) * MEGABYTE


def _for_engine(layout: Layout, image: Image, folder: Path, name: str) -> None:
    """What `docker load` reads beside the blobs of one platform, and which blobs these are."""
    folder.mkdir()
    entry = {
        "Config": blob_path(image.config.digest),
        "RepoTags": [name],
        "Layers": [blob_path(layer.digest) for layer in image.layers],
    }
    write_whole(folder / "manifest.json", canonical([entry]))
    write_whole(folder / "index.json", index_json([named(image.manifest, name)]))
    parts = (image.manifest, image.config, *image.layers)
    blobs = sorted({one.digest.removeprefix("sha256:") for one in parts})
    write_whole(folder / "blobs", "".join(f"{blob}\n" for blob in blobs).encode())


def _example(release: Release) -> Mapping[str, Any]:
    """The request of the first example and what is expected of its answer."""
    found = release.manifest.get("examples") or []
    return {name: found[0].get(name) for name in ("request", "expect")} if found else {}


def _options(release: Release) -> list[str]:
    """How the container is confined, in the words of `docker run`, which are Podman's too."""
    limits, memory = Limits(), str(_memory(release))
    return [
        "--read-only",
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("--tmpfs", TMPFS, "--user", USER),
        *("--memory", memory, "--memory-swap", memory),
        *("--pids-limit", str(limits.pids), "--cpus", f"{limits.cpus:g}"),
        *("--ulimit", f"nofile={limits.files}:{limits.files}"),
    ]


def _words(release: Release, service: str, image: str, images: Sequence[Image]) -> dict[str, str]:
    """What the templates are filled with."""
    limits = Limits()
    title = line(release.title_en or release.slug)
    cases = [
        f"{one.platform.architecture}) config={one.config.digest.removeprefix('sha256:')} "
        f"manifest={one.manifest.digest.removeprefix('sha256:')} ;;"
        for one in images
    ]
    return {
        "slug": re.sub(r"[^A-Za-z0-9._-]+", "-", release.slug),
        "version": re.sub(r"[^0-9A-Za-z.-]+", "-", release.version),
        "name": line(release.name),
        "title_en": title,
        "title_zh": line(release.title_zh or title),
        # A unit would take % for a specifier, and a backslash at the end for a line that goes on.
        "description": line(f"{title} ({service})").replace("\\", "/").replace("%", "%%"),
        "service": service,
        "service_json": json.dumps(service),
        "image": image,
        "image_json": json.dumps(image),
        "cases": "\n".join(cases),
        "platforms": ", ".join(str(one.platform) for one in images),
        "options": shlex.join(_options(release)),
        "key": sealed.KEY,
        "inner_port": str(sealed.PORT),
        "uid": USER.partition(":")[0],
        "user_json": json.dumps(USER),
        "tmpfs": TMPFS,
        "tmpfs_json": json.dumps(TMPFS),
        "memory": str(_memory(release)),
        "memory_words": f"{_memory(release) / (1 << 30):.2g} GB",
        "pids": str(limits.pids),
        "cpus": f"{limits.cpus:g}",
        "files": str(limits.files),
        "health_json": json.dumps(sealed.HEALTH["Test"]),
    }


def _fill(folder: Path, service: str, words: Mapping[str, str]) -> None:
    names = {"docker.service.in": f"{service}.service", "podman.container.in": f"{service}.container"}
    for path in sorted(HERE.glob("*.in")):
        if path.name == "ask.py.in":
            continue
        filled = _Template(path.read_text(encoding="utf-8")).substitute(words)
        write_whole(folder / names.get(path.name, path.stem), filled.encode())
