"""What goes over the wire: the table alone, or with the files that it names, and nothing from elsewhere."""

import zipfile
from pathlib import Path

import click
import pytest

from marketplace.cli.packing import packed


def test_a_table_of_texts_goes_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "reviews.csv"
    table.write_text("text,label\na.png,good\n")
    (tmp_path / "a.png").write_bytes(b"")
    with packed(table) as sent:
        assert sent == table


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "image,label\na.png,cat\npictures/b.png,dog\n"),
        ("t.csv", "\ufeffimage;label\na.png;cat\npictures/b.png;dog\nmissing.png;cat\n"),
        ("t.jsonl", '{"image": "a.png", "label": "cat"}\n{"image": "pictures/b.png"}\n{"image": "data:,"}\n'),
    ],
)
def test_named_files_come_along(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "pictures" / "b.png").write_bytes(b"b")
    (tmp_path / "unnamed.png").write_bytes(b"c")
    table = tmp_path / name
    table.write_text(content, encoding="utf-8")
    with packed(table) as sent:
        assert sent.name == "t.zip"
        with zipfile.ZipFile(sent) as archive:
            assert set(archive.namelist()) == {f"data{table.suffix}", "a.png", "pictures/b.png"}
            assert archive.read("pictures/b.png") == b"b"
            assert archive.read(f"data{table.suffix}") == table.read_bytes()
    assert not sent.exists()


def test_a_folder_is_packed(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"a")
    (folder / "data.csv").write_text("audio\na.wav\n")
    with packed(folder) as sent, zipfile.ZipFile(sent) as archive:
        assert sorted(archive.namelist()) == ["a.wav", "data.csv"]
    (folder / "data.csv").unlink()
    with pytest.raises(click.BadParameter, match=r"data\.csv"), packed(folder):
        pass


@pytest.mark.parametrize("path", ["../secret.png", "{folder}/../secret.png", "link.png"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"s")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    table = folder / "t.csv"
    table.write_text(f"image\n{path.format(folder=folder)}\n")
    with pytest.raises(click.BadParameter, match="outside"), packed(table):
        pass


def test_what_is_no_table_goes_as_it_is_and_the_shop_says_what_is_wrong(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", b"image\n\xff\xfe\x00\n"),
        ("b.csv", b""),
        ("c.csv", "image,标签\n图.png,好\n".encode("gbk")),
        ("d.jsonl", b'{"image": [}\n'),
        ("e.npz", b"PK"),
        ("f.csv", b'image\n"unclosed'),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        with packed(file) as sent:
            assert sent == file
