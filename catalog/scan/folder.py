"""All static checks of a version's files: names and links, digests, forms, secrets.

Each file is looked at apart from the others: what makes one check stumble refuses that file and no other, and
a file that could not be read to its end is refused.
"""

import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from catalog.progress import Progress, silent
from catalog.scan import Row, Verdict, formats, forms, names, secrets, sweep
from catalog.scan.findings import Place, Refused, Report, shown
from catalog.scan.source import Source

SLOWEST = 20e6
"""Bytes a second that a file is read with at the least; what it takes beyond that, its content asks for."""


def scan(
    folder: Path,
    artifacts: list[dict[str, Any]],
    progress: Progress = silent,
    *,
    linked: bool = False,
    seconds: float = 0,
) -> list[Row]:
    """Rows of the checks folder, digests, format and secrets; `artifacts` have path, sha256 and size.

    `linked` is for folders that catalog.blobs laid out; `seconds` bounds the processor's time for one file,
    beside what its size takes. Raises nothing that a file could cause.
    """
    rows, found = names.check(folder, artifacts, linked=linked)
    files = _Files(folder, artifacts, found, progress)
    files.seconds = seconds
    return [*(rows or [_passed("folder")]), *files.rows()]


class _TooSlow(BaseException):
    """The time of a file is used up; no check takes it for an error of its own."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """End what runs here after so much of the processor's time; 0 means without a bound."""
    if not seconds or not hasattr(signal, "setitimer"):
        yield
        return

    def end(number: int, frame: object) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class _Files:
    """The files that may be opened, in the order in which they are looked at."""

    def __init__(
        self, folder: Path, artifacts: list[dict[str, Any]], found: dict[str, int], progress: Progress
    ) -> None:
        self.folder, self.found, self.progress = folder, found, progress
        self.announced = {str(a["path"]): a for a in artifacts}
        self.external: dict[str, list[Place]] = {}
        self.seconds = 0.0
        self.done, self.total = 0, sum(found.values())
        self.digests: list[Row] = []
        self.formats: list[Row] = []
        self.secrets: list[Row] = []

    def rows(self) -> list[Row]:
        # Graphs first: they say which other files are their data.
        for path in sorted(self.found, key=lambda p: (PurePosixPath(p).suffix.lower() != ".onnx", p)):
            self._look(path)
            self.done += self.found[path]
            self.progress(self.done, self.total, shown(path))
        return [
            *(self.digests or [_passed("digests", files=len(self.found), size=self.total)]),
            *self.formats,
            *(self.secrets or [_passed("secrets")]),
        ]

    def _look(self, path: str) -> None:
        place = self.folder / path
        if not stat.S_ISREG(place.lstat().st_mode):
            self.formats.append(_failed("format", path, "file-unreadable"))
            return
        report = Report(path)
        seconds = self.seconds and self.seconds + self.found[path] / SLOWEST
        try:
            with _within(seconds), Source(place, path) as source:
                self._digest(source, path)
                report.facts["form"] = self._form(source, path, report)
                self._secrets(source, path, report)
        except Refused as refused:
            self.formats.append(_failed("format", path, refused.code, **refused.facts))
        except (MemoryError, _TooSlow):
            self.formats.append(_failed("format", path, "file-too-demanding"))
        except Exception:  # a check that stumbles has not seen all of the file
            self.formats.append(_failed("format", path, "file-unreadable"))
        else:
            self._note(path, report)

    def _digest(self, source: Source, path: str) -> None:
        announced = self.announced[path]
        if source.size != announced["size"]:
            facts = {"announced": announced["size"], "size": source.size}
            self.digests.append(_failed("digests", path, "file-size-wrong", **facts))
        digest, program = sweep.sweep(source)
        if digest != announced["sha256"]:
            self.digests.append(_failed("digests", path, "file-digest-wrong", digest=digest))
        self.program = program

    def _form(self, source: Source, path: str, report: Report) -> str:
        if not source.size:
            raise Refused("file-empty")
        form = formats.form_of(source, path, external=path in self.external)
        if self.program:
            raise Refused("file-program-inside", kind=self.program)
        if form == "external":
            forms.external(source, self.external[path], report)
        else:
            forms.CHECKS[form](source, report)
        forms.refuse_polyglot(source, form)
        for name, places in report.external.items():
            self._external(path, name, places)
        return form

    def _external(self, graph: str, name: str, places: list[Place]) -> None:
        """Hold the data that a graph names against the files that were announced."""
        inner = str(PurePosixPath(graph).parent / name)
        if inner not in self.found:
            raise Refused("onnx-external-missing", name=shown(name))
        for offset, length, _ in places:
            if offset + length > self.found[inner]:
                raise Refused("onnx-external-range", name=shown(name), size=self.found[inner])
        self.external.setdefault(inner, []).extend(places)

    def _secrets(self, source: Source, path: str, report: Report) -> None:
        for kind, line in secrets.find(source, report.facts["form"]):
            facts = {"kind": kind, "line": line}
            self.secrets.append(_failed("secrets", path, f"secret-{kind}", **facts))

    def _note(self, path: str, report: Report) -> None:
        for code, facts in report.warnings.items():
            row = Row("format", Verdict.warned, code, path, {"path": path, **facts})
            self.formats.append(row)
        if not report.warnings:
            self.formats.append(Row("format", Verdict.passed, "", path, report.facts))


def _passed(check: str, **facts: Any) -> Row:
    return Row(check, Verdict.passed, facts=facts)


def _failed(check: str, path: str, code: str, **facts: Any) -> Row:
    return Row(check, Verdict.failed, code, path, {"path": shown(path, 255), **facts})
