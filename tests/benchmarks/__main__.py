"""`python -m tests.benchmarks [serving | soak | optimizing | packaging | catalogue] [--json]`: ratios.

All are taken side by side. Without a word: how long the first answer takes, and what serving costs in brief.

A click is measured from the request to deploy to the first good answer through the gateway, with every
file cached, against the server's own cold start. That is measured from spawning `python -m deployer.server`
to its first good answer on /predict; its floor is a bare process that imports ONNX Runtime, opens the same
graph and ends.

serving  every figure of the server beside ONNX Runtime in this process and beside other servers, which are
         installed on first use into the folder that keeps the tests' downloads; see tests/benchmarks/serving
soak     --requests of mixed size to one server, and how its memory grows
optimizing
         what the optimiser finds on the shelf, beside fixed recipes and Olive (an
         hour or more: --only names some models, and --work keeps what is done for the next run)
packaging
         deployments against `docker run`, sealed images against a Dockerfile, an index for two platforms
         against one, and sizes; needs a Docker engine
catalogue
         search and pages at a million generated listings (--listings for another number), beside other
         engines, a large file from /hf beside nginx, and the memory of an import; the listings are made once,
         in ten minutes or so, and kept
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Collection
from functools import partial
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from tests.benchmarks.catalogue import rounds as catalogue
from tests.benchmarks.clicks import Clicker, shop_starts
from tests.benchmarks.harness import Case, Row, first_answer, graph_opened, interleave, row, table
from tests.benchmarks.optimizing import rounds as optimizing
from tests.benchmarks.optimizing import tables as optimized
from tests.benchmarks.optimizing.subjects import SHELF
from tests.benchmarks.packaging import rounds as packaging
from tests.benchmarks.serving import rounds as serving
from tests.benchmarks.serving import soak
from tests.benchmarks.serving.models import MAKERS
from tests.benchmarks.serving.peers import PEERS
from tests.benchmarks.serving.rounds import Effort
from tests.shelf_files import model_dir
from tests.shop import Shop

SERVED = ("en-minilm-l6-int8", "zh-sentiment")


def cold_starts(sockets: Path, rounds: int) -> list[Row]:
    """For each model: its bare process, and the server's first answer against it."""
    rows = []
    for listing in SERVED:
        folder = model_dir(listing)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        body = manifest["examples"][0]["request"]
        floor, server = f"{listing}: graph opened", f"{listing}: server's cold start"
        cases: dict[str, Case] = {
            floor: partial(graph_opened, folder / manifest["files"]["model"]),
            server: partial(first_answer, folder, body, sockets),
        }
        found = interleave(cases, rounds)
        rows += [row(found, floor), row(found, server, floor)]
    return rows


CLICKED = "zh-sentiment"
LIMITS = {"process": 1.5, "docker": 2.5}


def clicks(folder: Path, rounds: int) -> tuple[list[Row], str]:
    """Click to first answer on each runtime that is here, against the server's cold start; and the parts."""
    model = model_dir(CLICKED)
    body = json.loads((model / "manifest.json").read_text("utf-8"))["examples"][0]["request"]
    with Shop.start(folder / "home", MARKET_SHELF_ONLY=CLICKED) as shop:
        shop.wait_shelf()
        clicker = Clicker(shop, f"opc-market/{CLICKED}", body)
        with shop.api as api:
            here = [r["name"] for r in api.get("/api/doctor").json()["runtimes"] if r["ok"]]
        base = f"{CLICKED}: server's cold start"
        cases: dict[str, Case] = {base: partial(first_answer, model, body, folder)}
        cases |= {f"{CLICKED}: click, {runtime}": partial(clicker.click, runtime) for runtime in here}
        found = interleave(cases, rounds)
    rows = [row(found, base)]
    rows += [row(found, f"{CLICKED}: click, {r}", base, LIMITS[r]) for r in here]
    seconds, megabytes = shop_starts(folder / "home", min(rounds, 5))
    start = f"shop start: {seconds:.2f} s (limit 3), {megabytes:.0f} MB in all its processes (limit 200)"
    return rows, f"{clicker.parts()}\n{start}"


def starts(rounds: int) -> tuple[list[Row], str]:
    """Cold starts and clicks, and what those are made of."""
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
        rows = cold_starts(Path(sockets), rounds)
        clicked, parts = clicks(Path(sockets), rounds)
    return rows + clicked, parts


def everything(given: argparse.Namespace) -> bool:
    """What `make bench` prints."""
    rows, parts = starts(given.rounds)
    if not given.json:
        print(table(rows), parts, "", sep="\n", flush=True)
    report = serving.run(
        Effort(min(given.rounds, 3), seconds=1.0, mixed=20_000, peers=given.peers, brief=True)
    )
    if given.json:
        told = {"starts": [dataclasses.asdict(one) for one in rows], "serving": report.plain()}
        print(json.dumps(told, indent=2))
    else:
        print(report.text())
    return report.kept and all(one.kept for one in rows)


def served(given: argparse.Namespace) -> bool:
    """The serving benchmark in full."""
    report = serving.run(Effort(given.rounds, seconds=2.5, mixed=100_000, peers=given.peers))
    print(json.dumps(report.plain(), indent=2) if given.json else report.text())
    return report.kept


def soaked(given: argparse.Namespace) -> bool:
    """The soak, told piece by piece."""
    so_far = None
    for so_far in soak.run(given.requests, given.model):
        if not given.json:
            print(so_far.pieces[-1].text(), flush=True)
    assert so_far is not None
    print(json.dumps(so_far.plain(), indent=2) if given.json else so_far.text())
    return so_far.kept


def optimised(given: argparse.Namespace) -> bool:
    """The optimiser's tables, in both languages."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        effort = optimizing.Effort(given.work or Path(scratch), given.seeds, peers=bool(given.peers))
        report = optimized.Tables.of(optimizing.run([SHELF[name] for name in given.only], effort), effort)
    print(json.dumps(report.plain(), indent=2) if given.json else report.text())
    return report.kept


def packaged(given: argparse.Namespace) -> bool:
    """What packaging costs."""
    report = packaging.run(given.rounds)
    print(json.dumps(report.plain(), indent=2) if given.json else report.text())
    return report.kept


def catalogued(given: argparse.Namespace) -> bool:
    """Search and pages at a million listings."""
    report = catalogue.run(given.listings, peers=bool(given.peers))
    print(json.dumps(report.plain(), indent=2, ensure_ascii=False) if given.json else report.text())
    return report.kept


WHAT = {
    "all": everything,
    "serving": served,
    "soak": soaked,
    "optimizing": optimised,
    "packaging": packaged,
    "catalogue": catalogued,
}


def main() -> int:
    """Measure and print; exit code 1 when an aim is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=WHAT, default="all")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--peers", type=_peers, default=tuple(PEERS), help="other servers, with commas between"
    )
    parser.add_argument("--no-peers", dest="peers", action="store_const", const=())
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the soak")
    parser.add_argument("--model", choices=MAKERS, default="tiny", help="of the soak")
    parser.add_argument("--only", type=_models, default=tuple(SHELF), help="models, with commas between")
    parser.add_argument("--work", type=Path, help="a folder to keep the optimiser's jobs in")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each quick model")
    parser.add_argument("--listings", type=int, default=catalogue.LISTINGS, help="of the catalogue")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    # A stop by whoever started this ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return 0 if WHAT[given.what](given) else 1


def _peers(names: str) -> tuple[str, ...]:
    return _known(names, PEERS)


def _models(names: str) -> tuple[str, ...]:
    return _known(names, SHELF)


def _known(names: str, there: Collection[str]) -> tuple[str, ...]:
    found = tuple(filter(None, names.split(",")))
    if unknown := set(found) - set(there):
        raise argparse.ArgumentTypeError(f"not among {', '.join(there)}: {', '.join(sorted(unknown))}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
