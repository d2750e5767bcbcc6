"""People's rows on their way in: kept once, for their owner alone, and gone when they say so."""

import io
import zipfile
from pathlib import Path

import pytest

from marketplace import samples
from marketplace.samples import Intake, SampleRefused, UnknownSample

CSV = "text,label\n很好,positive\n不好,negative\n".encode()


def bring(home: Path, name: str, content: bytes, owner: str = "a") -> samples.Sample:
    intake = Intake(home, name)
    try:
        for start in range(0, len(content), 7):
            intake.write(content[start : start + 7])
        return intake.keep(owner)
    finally:
        intake.close()


def test_a_sample_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    made = bring(tmp_path, "reviews.csv", CSV)
    assert (made.name, made.size, made.rows, made.columns, made.labelled) == (
        "reviews.csv",
        len(CSV),
        2,
        ("text", "label"),
        True,
    )
    assert samples.path_of(tmp_path, made.id).read_bytes() == CSV
    assert samples.get_sample(tmp_path, "a", f"sha256:{made.id}") == made
    for file in (tmp_path / "samples", *(tmp_path / "samples").glob(f"{made.id}*")):
        assert file.stat().st_mode & 0o077 == 0, file
    with pytest.raises(UnknownSample):
        samples.get_sample(tmp_path, "b", made.id)
    assert samples.list_samples(tmp_path, "b") == []


def test_the_same_bytes_are_kept_once_and_go_with_their_last_owner(tmp_path: Path) -> None:
    made = bring(tmp_path, "reviews.csv", CSV, "a")
    assert bring(tmp_path, "mine.csv", CSV, "b").id == made.id
    assert samples.get_sample(tmp_path, "a", made.id).name == "reviews.csv"
    assert samples.get_sample(tmp_path, "b", made.id).name == "mine.csv"
    samples.remove_sample(tmp_path, "a", made.id)
    assert samples.path_of(tmp_path, made.id).exists()
    samples.remove_sample(tmp_path, "b", made.id)
    left = [path.name for path in (tmp_path / "samples").iterdir()]
    assert left == [".lock"]
    with pytest.raises(UnknownSample):
        samples.remove_sample(tmp_path, "b", made.id)


def test_the_newest_sample_comes_first(tmp_path: Path) -> None:
    first = bring(tmp_path, "a.csv", CSV)
    second = bring(tmp_path, "b.jsonl", b'{"text": "x"}\n')
    assert [s.id for s in samples.list_samples(tmp_path, "a")] == [second.id, first.id]
    assert bring(tmp_path, "again.csv", CSV).id == first.id
    assert [s.id for s in samples.list_samples(tmp_path, "a")] == [first.id, second.id]


@pytest.mark.parametrize(
    ("name", "content", "rows", "columns", "labelled"),
    [
        ("a.csv", b"text\nx\ny", 2, ["text"], False),
        ("a.csv", "\ufefftext;label\nx;1\n".encode(), 1, ["text", "label"], True),
        ("a.csv", b'text,label\n"x\ny",1\n', 1, ["text", "label"], True),
        ("a.csv", "文本,label\n好,1\n".encode("gbk"), 1, None, True),
        ("a.jsonl", b'{"text": "x", "label": 1}\n{"text": "y", "label": 2}\n', 2, ["text", "label"], True),
        ("a.jsonl", b"not json\n", None, [], None),
        ("a.npz", b"PK broken", None, [], None),
        ("a.zip", b"no zip", None, [], None),
        ("a.csv", b"\x00\xff\xfe", 0, None, False),
    ],
)
def test_a_quick_look_says_nothing_wrong(
    tmp_path: Path,
    name: str,
    content: bytes,
    rows: int | None,
    columns: list[str] | None,
    labelled: bool | None,
) -> None:
    made = bring(tmp_path, name, content)
    assert made.rows == rows
    assert made.labelled == labelled
    if columns is not None:
        assert list(made.columns) == columns


def test_a_look_into_an_archive(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data.csv", "image,label\na.png,cat\nb.png,dog\n")
        archive.writestr("a.png", b"")
    made = bring(tmp_path, "pictures.zip", packed.getvalue())
    assert (made.rows, made.columns, made.labelled) == (2, ("image", "label"), True)


@pytest.mark.parametrize("name", ["", "x", "a.exe", "../../a.csv.sh", ".csv", "a.csv\n.sh"])
def test_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SampleRefused):
        Intake(tmp_path, name)


def test_names_lose_their_folders(tmp_path: Path) -> None:
    assert bring(tmp_path, "../../etc/a.csv", CSV).name == "a.csv"
    assert bring(tmp_path, "C:\\data\\b.CSV", CSV).name == "b.CSV"


def test_an_empty_file_and_one_that_broke_off_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(SampleRefused):
        bring(tmp_path, "a.csv", b"")
    intake = Intake(tmp_path, "a.csv")
    intake.write(CSV)
    intake.close()
    assert list((tmp_path / "samples").glob("*")) == []
    assert list((tmp_path / "samples").glob(".half*")) == []


@pytest.mark.parametrize("identity", ["", "x", "../market.db", "a" * 64])
def test_ids_of_nothing(tmp_path: Path, identity: str) -> None:
    with pytest.raises(UnknownSample):
        samples.get_sample(tmp_path, "a", identity)
