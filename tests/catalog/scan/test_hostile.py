"""Every hostile sample through the child that the shop uses: refused by its own code and in bounds."""

from pathlib import Path

import pytest

import catalog
from catalog.scan import Row
from deployer.optimizer import worker
from tests.catalog.scan import samples

SECONDS, MEMORY = 20, 1 << 30


def scan_in_child(
    folder: Path, artifacts: list[dict[str, object]], work: Path, **options: object
) -> tuple[list[Row], int]:
    """Rows of a folder, and the most memory that the child held."""
    done = worker.run(
        "catalog.scan.child:scan",
        {"folder": folder, "artifacts": artifacts, **options},
        read=[Path(catalog.__file__).parent, folder],
        write=[work],
        memory=MEMORY,
        seconds=SECONDS,
    )
    return [Row.from_json(row) for row in done.result], done.peak


@pytest.mark.parametrize("sample", samples.HOSTILE, ids=lambda s: s.name)
def test_hostile_sample_is_refused(sample: samples.Sample, tmp_path: Path) -> None:
    folder, work = tmp_path / "version", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    canary = work / "canary"
    artifacts = sample.build(folder, canary) or samples.announced(folder)
    rows, peak = scan_in_child(folder, artifacts, work)
    assert sample.code in {row.code for row in rows if row.verdict == "fail"}, [r for r in rows if r.code]
    assert peak < MEMORY
    assert not canary.exists()
    assert list(work.iterdir()) == []


def test_a_slow_file_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    folder, work = tmp_path / "version", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    (folder / "a.yaml").write_text("- [a, b]\n" * 50_000)
    (folder / "b.txt").write_text("cat\ndog\n")
    rows, _ = scan_in_child(folder, samples.announced(folder), work, seconds=0.5)
    found = {row.path: (row.verdict, row.code) for row in rows if row.check == "format"}
    assert found == {"a.yaml": ("fail", "file-too-demanding"), "b.txt": ("pass", "")}
