"""What is measured: deployments against plain runs, sealed images against the classic builder, and sizes."""

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import docker
import psutil

from deployer.packager import engine, wheels
from deployer.packager.image import PLATFORMS, Platform
from deployer.packager.release import Release, Workshop
from deployer.packager.runtime_image import ensure_runtime_image
from deployer.packager.sealed import KEY, PORT, Sealed, seal
from deployer.runtimes.engines import connect
from deployer.spec import ReplicaSpec, silent
from tests.benchmarks.clicks import Clicker
from tests.benchmarks.harness import Row, Timing, cpu_seconds, interleave, row
from tests.benchmarks.packaging import containers
from tests.benchmarks.packaging.report import MB, Figure, Report
from tests.deployer.packager.releases import Fresh, shelf
from tests.shelf_files import model_dir
from tests.shop import CACHE, Shop

WARM = "zh-sentiment"
NEW = "en-minilm-l6-fp32"  # 90 MB
NEIGHBOUR = "en-minilm-l6-int8"  # 23 MB, of the same task
PREFIX = "opc-market-bench/"
DOCKERFILE = """\
FROM {image}
COPY . /model
EXPOSE {port}
CMD ["/model", "--name", "bench", "--host", "0.0.0.0", "--port", "{port}", "--key-env", "{key}"]
"""
AIMS = {"warm": 1.3, "new": 2.5, "index": 1.5, "second": 1.0, "runtime": 150.0, "with 25 MB": 180.0}


def timed(what: Callable[[], object], after: Callable[[], object] = lambda: None) -> Timing:
    """Seconds of one run, and CPU seconds of this process and its children; `after` does not count."""
    here = psutil.Process()

    def cpu() -> float:
        times = here.cpu_times()
        return cpu_seconds(here) + float(times.children_user + times.children_system)

    before, began = cpu(), time.perf_counter()
    what()
    taken = Timing(time.perf_counter() - began, cpu() - before)
    after()
    return taken


def home_of(folder: Path, name: str) -> Path:
    """A home that shares only what was fetched."""
    home = folder / name
    home.mkdir()
    cache = CACHE / "runtime-home" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (home / "cache").symlink_to(cache)
    return home


def warm(client: docker.DockerClient, folder: Path, rounds: int) -> tuple[list[Row], str]:
    """From the chosen model to the first answer: our runtime, and the whole shop, against `docker run`."""
    home = home_of(folder, "warm")
    model = model_dir(WARM)
    body = shelf(WARM).manifest["examples"][0]["request"]
    with (
        Shop.start(home, MARKET_SHELF_ONLY=WARM) as shop,
        containers.runtime(home_of(folder, "runtime")) as runtime,
    ):
        shop.wait_shelf()
        image = ensure_runtime_image(client, runtime.home, runtime.base, silent)
        runtime.prepare(ReplicaSpec(id="bench-1", deployment="bench", model_dir=model), silent)
        clicker = Clicker(shop, f"opc-market/{WARM}", body)
        options = containers.mounted(model)
        base, ours, click = f"{WARM}: docker run", f"{WARM}: our runtime", f"{WARM}: click in the shop"
        found = interleave(
            {
                base: lambda: timed(
                    lambda: containers.plain_run(client, image, body, **options),
                    lambda: containers.ended(client),
                ),
                ours: lambda: timed(
                    lambda: containers.deployed(runtime, model, body), lambda: runtime.stop("bench-1", 0)
                ),
                click: lambda: clicker.click("docker"),
            },
            rounds,
        )
    rows = [row(found, base), row(found, ours, base, AIMS["warm"]), row(found, click, base, AIMS["warm"])]
    return rows, clicker.parts()


class Sealing:
    """New models as sealed images and by the classic builder, over the same runtime in the engine."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self.client = client
        self.workshop = Workshop(home_of(folder, "sealing"))
        self.fresh = Fresh(NEW, folder)
        self.parts: dict[str, list[float]] = defaultdict(list)
        self.neighbour = self._seal(shelf(NEIGHBOUR))
        engine.load_for(client, self.neighbour.layout, self.neighbour.root, f"{PREFIX}neighbour:1")
        self.image = ensure_runtime_image(client, self.workshop.home, self.workshop.base, silent)

    def close(self) -> None:
        """Leave the engine as it was."""
        self.client.images.remove(f"{PREFIX}neighbour:1", force=True)

    def _seal(self, release: Release) -> Sealed:
        return seal(self.workshop, release, platforms=[engine.platform(self.client)])

    def _ended(self, name: str) -> None:
        containers.ended(self.client)
        self.client.images.remove(name, force=True)

    def sealed(self) -> Timing:
        """A new model sealed, loaded, run and asked."""
        release, name = self.fresh.renew(), f"{PREFIX}new:1"

        def work() -> None:
            moments = [time.perf_counter()]
            made = self._seal(release)
            moments.append(time.perf_counter())
            engine.load_for(self.client, made.layout, made.root, name)
            moments.append(time.perf_counter())
            containers.plain_run(self.client, name, self.fresh.body)
            moments.append(time.perf_counter())
            for part, begin, end in zip(
                ("seal", "load", "run and answer"), moments, moments[1:], strict=False
            ):
                self.parts[part].append(end - begin)

        return timed(work, lambda: self._ended(name))

    def built(self) -> Timing:
        """The same by a Dockerfile on the runtime image, through the SDK."""
        self.fresh.renew()
        name = f"{PREFIX}built:1"
        text = DOCKERFILE.format(image=self.image, port=PORT, key=KEY)
        (self.fresh.folder / "Dockerfile").write_text(text)
        (self.fresh.folder / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")

        def work() -> None:
            self.client.images.build(path=str(self.fresh.folder), tag=name, rm=True)
            containers.plain_run(self.client, name, self.fresh.body)

        return timed(work, lambda: self._ended(name))

    def second(self) -> list[Figure]:
        """Bytes that another model of a task adds to the layout and to the engine, over those it has."""
        release, name = self.fresh.renew(), f"{PREFIX}second:1"
        layout = self.neighbour.layout
        before = {path.name for path in layout.blobs.iterdir()}
        image = self._seal(release).images[0]
        added = sum(path.stat().st_size for path in layout.blobs.iterdir() if path.name not in before)
        shared = engine.load(self.client, layout, image, name)
        loaded = sum(layer.size for layer in image.layers[shared:])
        self.client.images.remove(name, force=True)
        return [
            Figure(f"second model, its files of {release.size / MB:.1f} MB", release.size / MB, "MB"),
            Figure("added to the layout beyond them", (added - release.size) / MB, "MB", AIMS["second"]),
            Figure("added to the engine beyond them", (loaded - release.size) / MB, "MB", AIMS["second"]),
        ]

    def sizes(self) -> list[Figure]:
        """What images weigh, unpacked: all of it, and by layers."""
        image, release = self.neighbour.images[0], shelf(NEIGHBOUR)
        names = ["base", *wheels.groups(frozenset({release.task})), "server", "weights", "config"]
        layers = dict(zip(names, image.layers, strict=False))
        whole = sum(layer.size for layer in image.layers)
        runtime = self.client.images.get(self.image).attrs["Size"]
        without = whole - layers["weights"].size
        return [
            Figure("runtime image for all tasks", runtime / MB, "MB", AIMS["runtime"]),
            Figure(f"sealed {NEIGHBOUR}", whole / MB, "MB", AIMS["with 25 MB"]),
            Figure(f"sealed {NEIGHBOUR} without its weights", without / MB, "MB", AIMS["runtime"]),
            *(Figure(f"layer: {name}", layer.size / MB, "MB") for name, layer in layers.items()),
        ]


def sealing(client: docker.DockerClient, folder: Path, rounds: int) -> tuple[list[Row], list[Figure]]:
    """A new model of 90 MB to its first answer, both ways; and what a second one adds."""
    bench = Sealing(client, folder)
    try:
        ours, classic = f"{NEW}, new: sealed", f"{NEW}, new: Dockerfile"
        found = interleave({classic: bench.built, ours: bench.sealed}, rounds)
        rows = [row(found, classic), row(found, ours, classic)]
        figures = [Figure(f"{ours}, to the first answer", rows[1].wall, "s", AIMS["new"])]
        figures += [
            Figure(f"{ours}: {part}", statistics.median(taken[-rounds:]), "s")
            for part, taken in bench.parts.items()
        ]
        return rows, [*figures, *bench.second(), *bench.sizes()]
    finally:
        bench.close()


def indexes(folder: Path, rounds: int) -> list[Row]:
    """An image for one platform and an index for two, each in a home that has nothing but the packages."""
    release = shelf("doc-orientation")

    def cold(platforms: Sequence[Platform]) -> Timing:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            workshop = Workshop(home_of(Path(place), "home"))
            return timed(partial(seal, workshop, release, platforms=platforms))

    one, two = "cold: one platform", "cold: an index for two"
    found = interleave({one: partial(cold, PLATFORMS[:1]), two: partial(cold, PLATFORMS)}, rounds)
    return [row(found, one), row(found, two, one, AIMS["index"])]


def run(rounds: int) -> Report:
    """Measure everything."""
    client = connect()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            folder = Path(place)
            rows, parts = warm(client, folder, rounds)
            rows += indexes(folder, min(rounds, 5))
            sealed, figures = sealing(client, folder, min(rounds, 5))
        return Report(rows + sealed, figures, parts)
    finally:
        containers.ended(client)
        client.close()
