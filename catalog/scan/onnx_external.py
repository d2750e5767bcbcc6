"""The data file beside a graph: raw tensors, one behind the other, and nothing else."""

from catalog.scan.findings import Place, Refused, Report
from catalog.scan.onnx_tensors import special
from catalog.scan.source import Source

_PADDING = 1 << 16
"""Bytes that may lie between two tensors, which writers align to pages."""


def check(source: Source, places: list[Place], report: Report) -> None:
    """The tensors cover the file but for zeros between them, share bytes wholly or not, and are numbers."""
    covered, last = 0, (0, 0)
    for offset, length, kind in sorted(set(places)):
        if offset < covered:
            if (offset, length) == last:
                continue
            raise Refused("onnx-external-overlap", offset=offset)
        _padding(source, covered, offset)
        covered, last = offset + length, (offset, length)
        found = special(source, offset, covered, kind)
        if found == "nan":
            raise Refused("file-nan", name=f"@{offset}")
        if found:
            report.warn("file-infinite", name=f"@{offset}")
    _padding(source, covered, source.size)


def _padding(source: Source, start: int, end: int) -> None:
    if end - start > _PADDING or any(source.read(start, end - start)):
        raise Refused("file-trailing", size=end - start)
