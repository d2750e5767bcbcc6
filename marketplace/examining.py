"""All checks of one folder, in their order, without a shop: `market publish --check` and the shop's job.

Nothing of a vendor's is parsed here. Each check reads in a child that is shut in and bounded in memory and
time, and one that crashes, hangs or eats memory is a row that failed. What an earlier check refused is not
loaded by a later one; such rows say that they were not run, which is never shown as safe.
"""

import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import catalog
from catalog import manifest as manifests
from catalog.errors import InvalidManifest
from catalog.progress import Progress, silent
from catalog.scan import CHECKS, Row, Verdict
from catalog.scan.folder import SLOWEST
from deployer.errors import DeployerError
from deployer.optimizer import worker
from deployer.optimizer.errors import WorkerFailed
from marketplace import trying

__all__ = ["Bounds", "Examination", "Subject", "examine"]

CODE = Path(catalog.__file__).parents[1]
GATE = ("manifest", "folder", "digests", "format", "scanner")
"""What must have passed before anything is loaded."""
EVERY_FILE = ("folder", "digests", "format", "secrets")
"""Checks that one child makes of all files."""
HOW = {"not enough memory": "check-out-of-memory"}


class Offered(Protocol):
    """What a folder with a market.yaml says of itself; see catalog.offer."""

    @property
    def claims(self) -> dict[str, Any]:
        """What its vendor says that it does."""

    @property
    def licenses(self) -> dict[str, str]:
        """Licences of package, weights and base."""

    def manifest(self) -> dict[str, Any]:
        """The catalogue's manifest."""

    def words(self) -> dict[str, Any]:
        """What people read about it."""


PER_FILE = 0.1  # seconds that a folder's scan may take for each of its files, which are small where many


@dataclass(frozen=True)
class Subject:
    """What is checked beside the files: what their vendor says of them."""

    manifest: dict[str, Any]
    words: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)
    licenses: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, offer: Offered) -> "Subject":
        """The offer of a folder."""
        return cls(offer.manifest(), offer.words(), dict(offer.claims), dict(offer.licenses))


@dataclass(frozen=True)
class Bounds:
    """What checks may cost: bytes and seconds."""

    memory: int = 1 << 30
    seconds: float = 20.0  # of one file, and of each other check
    largest: int = 4 << 30  # memory of a dry run, whatever the model would take
    start: float = 60.0
    answer: float = 20.0


def examine(
    folder: Path,
    offer: "Offered | Subject",
    progress: Progress = silent,
    *,
    bounds: Bounds | None = None,
    scanner: str = "none",
    home: Path | None = None,
    strict: bool = True,
) -> list[Row]:
    """Every row of a folder's checks; never raises for what the folder holds.

    Of the folder only the offer's files are looked at, as only they would be sent. Without `strict` a card
    may be unfinished.
    """
    subject = offer if isinstance(offer, Subject) else Subject.of(offer)
    with tempfile.TemporaryDirectory(prefix="market-check-") as work:
        room = Path(work)
        files = room / "files"
        files.mkdir()
        with contextlib.suppress(InvalidManifest, OSError):  # which the first checks will tell
            lay_out(folder, manifests.validate(subject.manifest), files)
        looked = Examination(files, subject, room, linked=True, strict=strict)
        looked.bounds, looked.tick = bounds or Bounds(), progress
        looked.scanner, looked.home = scanner, home
        return list(looked.rows())


@dataclass
class Examination:
    """The checks of one folder; `rows` makes them one after another, `measured` is there afterwards.

    `work` is an empty folder that is removed by the caller. `tick` is called all along; what it raises ends
    the check under way. `home` is where the second scanner's environment lies, `run_dir` where sockets go.
    `linked` says that the files are links into the store, which an upload may not hold; `strict`, that a
    card must be finished.
    """

    folder: Path
    subject: Subject
    work: Path
    bounds: Bounds = field(default_factory=Bounds)
    tick: Progress = silent
    scanner: str = "none"
    home: Path | None = None
    run_dir: Path | None = None
    linked: bool = False
    strict: bool = True
    measured: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Verdict] = field(default_factory=dict)
    """The worst verdict of each check so far."""

    def rows(self) -> Iterator[Row]:
        """Each row as soon as it is known; every check has at least one."""
        for ids, check in self._checks():
            for row in check():
                self.seen[row.check] = max(
                    self.seen.get(row.check, Verdict.passed), row.verdict, key=_gravity
                )
                yield row
            for id in ids:
                if id not in self.seen:
                    self.seen[id] = Verdict.passed
                    yield Row(id, Verdict.passed)

    def _checks(self) -> list[tuple[tuple[str, ...], Callable[[], list[Row]]]]:
        return [
            (("manifest",), self._manifest),
            (EVERY_FILE, self._files),
            (("scanner",), self._second_scanner),
            (("metadata",), self._metadata),
            (("licence", "card"), self._paperwork),
            (("dry-run", "examples", "claims"), self._dry_run),
        ]

    @property
    def gate_open(self) -> bool:
        """Whether nothing so far forbids to load the files."""
        good = (Verdict.passed, Verdict.warned)
        return all(self.seen.get(id, Verdict.passed) in good for id in GATE if id != "scanner") and (
            self.seen.get("scanner") != Verdict.failed
        )

    def _manifest(self) -> list[Row]:
        try:
            manifests.validate(self.subject.manifest)
        except InvalidManifest as error:
            return [Row("manifest", Verdict.failed, "manifest-invalid", facts=dict(error.facts))]
        if not self.subject.manifest.get("examples"):
            return [Row("manifest", Verdict.warned, "manifest-no-examples")]
        return []

    def _files(self) -> list[Row]:
        if self.seen["manifest"] == Verdict.failed:
            return not_run(*EVERY_FILE, after="manifest")
        artifacts = self.subject.manifest["artifacts"]
        arguments = {"folder": self.folder, "artifacts": artifacts, "linked": self.linked}
        return self.in_child(
            "catalog.scan.child:scan",
            {**arguments, "seconds": self.bounds.seconds},
            EVERY_FILE,
            seconds=scan_seconds(artifacts, self.bounds),
        )

    def _second_scanner(self) -> list[Row]:
        from marketplace import scanners

        if self.scanner == "none":
            return [Row("scanner", Verdict.unknown, "scanner-none", scanner="", scanner_version="")]
        if not self.gate_open:
            return not_run("scanner", after=self._refused_by())
        paths = [a["path"] for a in self.subject.manifest["artifacts"]]
        work = self._room("scanner")
        return scanners.scan(self.scanner, self.folder, paths, home=self.home, work=work, tick=self.tick)

    def _metadata(self) -> list[Row]:
        if not self.gate_open:
            return not_run("metadata", after=self._refused_by())
        arguments = {"folder": self.folder, "manifest": self.subject.manifest}
        rows = self.in_child(
            "catalog.metadata:check",
            {**arguments, "words": self.subject.words},
            ("metadata",),
            memory=self._for_graphs(),
        )
        return rows + self.in_child(
            "marketplace.chat_templates:check", arguments, ("metadata",), slow="metadata-template-slow"
        )

    def _for_graphs(self) -> int:
        """Bytes for a child that parses graphs, which lie in memory twice while they are read."""
        graphs = [
            a["size"] for a in self.subject.manifest["artifacts"] if a["path"].lower().endswith(".onnx")
        ]
        return min(self.bounds.largest, max(self.bounds.memory, (512 << 20) + 2 * int(sum(graphs))))

    def _paperwork(self) -> list[Row]:
        """Licences and card; a licence's text is read only when the gate let the files pass."""
        folder = self.folder if self.gate_open else None
        paths = [a["path"] for a in self.subject.manifest.get("artifacts", [])] if folder else []
        licences = {"folder": str(folder or ""), "paths": paths, "licenses": self.subject.licenses}
        words = {"words": self.subject.words, "strict": self.strict}
        return [
            *self.in_child("catalog.licences:check", licences, ("licence",)),
            *self.in_child("catalog.cards:check", words, ("card",)),
        ]

    def _dry_run(self) -> list[Row]:
        if not self.gate_open:
            return not_run("dry-run", "examples", "claims", after=self._refused_by())
        return trying.try_version(self)

    def _refused_by(self) -> str:
        bad = (Verdict.failed, Verdict.unknown)
        return next((id for id in GATE if self.seen.get(id) in bad and id != "scanner"), "scanner")

    def _room(self, name: str) -> Path:
        room = self.work / name
        room.mkdir(mode=0o700, exist_ok=True)
        return room

    def in_child(
        self,
        function: str,
        arguments: dict[str, Any],
        checks: tuple[str, ...],
        *,
        seconds: float = 0,
        memory: int = 0,
        slow: str = "check-too-slow",
    ) -> list[Row]:
        """The rows that a function of ours gives in a child; a failed row for each check when it does not."""
        room = self._room(f"child-{secrets.token_hex(4)}")
        seconds, memory = seconds or self.bounds.seconds, memory or self.bounds.memory
        try:
            done = worker.run(
                function,
                arguments,
                read=(CODE / "catalog", CODE / "marketplace", self.folder),
                write=(room,),
                memory=memory,
                seconds=seconds,
                tick=self.tick,
            )
            return [Row.from_json(row) for row in done.result]
        except WorkerFailed as error:
            how = str(error.facts["how"])
            facts = {"how": how, "seconds": seconds, "memory": memory}
            code = {**HOW, "it took too long": slow}.get(how, "check-crashed")
            return [Row(check, Verdict.failed, code, facts=facts) for check in checks]
        except (DeployerError, KeyError, TypeError, ValueError) as error:
            facts = {"how": type(error).__name__}
            return [Row(check, Verdict.failed, "check-crashed", facts=facts) for check in checks]
        finally:
            shutil.rmtree(room, ignore_errors=True)


def scan_seconds(artifacts: list[dict[str, Any]], bounds: Bounds) -> float:
    """How long the scan of a folder may take: a few slow files, and what their number and sizes take."""
    size = sum(int(a["size"]) for a in artifacts)
    return 3 * bounds.seconds + PER_FILE * len(artifacts) + size / SLOWEST


def not_run(*checks: str, after: str) -> list[Row]:
    """Rows that say so: what was refused is not loaded."""
    facts = {"title_zh": CHECKS[after].title_zh, "title_en": CHECKS[after].title_en}
    return [Row(check, Verdict.unknown, "check-not-run", facts=facts) for check in checks]


def _gravity(verdict: Verdict) -> int:
    return (Verdict.passed, Verdict.warned, Verdict.unknown, Verdict.failed).index(verdict)


def lay_out(folder: Path, manifest: dict[str, Any], target: Path) -> Path:
    """The folder as a server reads it, with its manifest.json; links, or copies where there can be none."""
    for artifact in manifest["artifacts"]:
        place = target / artifact["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(folder / artifact["path"], place, follow_symlinks=False)
        except OSError:
            shutil.copyfile(folder / artifact["path"], place, follow_symlinks=False)
    (target / manifests.FILE_NAME).write_bytes(manifests.canonical(manifest))
    return target
