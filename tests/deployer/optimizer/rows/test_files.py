"""Tables that name files: folders and archives, and paths that lead where they should not."""

import base64
import contextlib
import io
import json
import os
import stat
import struct
import zipfile
import zlib

import pytest

from deployer.optimizer.metrics import judge_for, value
from deployer.optimizer.rows import DataRefused, recalled

from .files import as_csv, as_jsonl, put, refused, taken

OPTIONS = {"task": "image-classification", "field": "image", "labels": ["cat", "dog"]}


def pictures(count=70):
    """Rows that name pictures, and the pictures' bytes (nobody decodes them here)."""
    rows = [{"image": f"images/{n}.png", "label": ("cat", "dog")[n % 2]} for n in range(count)]
    return rows, {row["image"]: f"picture {n}".encode() for n, row in enumerate(rows)}


def folder(tmp_path, rows, files):
    for name, content in files.items():
        put(tmp_path, content, name)
    return put(tmp_path, as_csv(rows))


def archive(tmp_path, members, name="data.zip", compression=zipfile.ZIP_DEFLATED):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", compression) as opened:
        for member, content in members.items():
            opened.writestr(member, content)
    return path


def contents(found):
    return {base64.b64decode(row.request["image"]["base64"]) for row in found.rows}


def test_files_beside_the_table(tmp_path):
    rows, files = pictures()
    path = folder(tmp_path, rows, files)
    found = taken(path, **OPTIONS)
    assert contents(found) == set(files.values())
    assert taken(tmp_path, **OPTIONS).digest == found.digest  # the folder is its table and what that names
    put(tmp_path, b"another", "images/3.png")
    assert taken(path, **OPTIONS).digest != found.digest
    assert json.loads(json.dumps(found.rows[0].request)) == found.rows[0].request


def test_rows_are_told_by_content_wherever_it_stands(tmp_path):
    rows, files = pictures()
    keys = [row.key for row in taken(folder(tmp_path / "a", rows, files), **OPTIONS).rows]
    moved = [{**row, "image": row["image"].replace("images", "p")} for row in rows]
    renamed = {name.replace("images", "p"): content for name, content in files.items()}
    zipped = archive(tmp_path, {"data.csv": as_csv(rows), **files})
    inline = [{**row, "image": {"base64": base64.b64encode(files[row["image"]]).decode()}} for row in rows]
    uris = [{**row, "image": "data:image/png;base64," + row["image"]["base64"]} for row in inline]
    for path in (
        folder(tmp_path / "b", moved, renamed),
        zipped,
        put(tmp_path, as_jsonl(inline), "data.jsonl"),
        put(tmp_path, as_csv(uris), "uris.csv"),
    ):
        assert [row.key for row in taken(path, **OPTIONS).rows] == keys


def test_bare_base64_is_told_from_a_path_by_its_length(tmp_path):
    rows, _ = pictures()
    long = [{**row, "image": base64.b64encode(f"{n} ".encode() * 200).decode()} for n, row in enumerate(rows)]
    assert len(contents(taken(put(tmp_path, as_csv(long)), **OPTIONS))) == 70


def test_an_archive_may_be_a_folder_zipped(tmp_path):
    rows, files = pictures()
    members = {"mine/data.csv": as_csv(rows), **{f"mine/{name}": one for name, one in files.items()}}
    members |= {"__MACOSX/mine/._data.csv": b"\0", "mine/.DS_Store": b"\0"}
    assert contents(taken(archive(tmp_path, members), **OPTIONS)) == set(files.values())


class WindowsName(zipfile.ZipInfo):
    """A member's name as Windows in China writes it: in GBK, and nothing says so."""

    def _encodeFilenameFlags(self):
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


def test_an_archive_from_windows_has_its_names_in_gbk(tmp_path):
    rows = [{"image": f"图片\\{n}.png", "label": ("cat", "dog")[n % 2]} for n in range(70)]
    path = archive(tmp_path, {"data.csv": as_csv(rows)})
    with zipfile.ZipFile(path, "a") as opened:
        for n in range(70):
            opened.writestr(WindowsName(f"图片/{n}.png"), f"picture {n}")
    with zipfile.ZipFile(path) as opened:
        assert "图片/0.png" not in opened.namelist()
    assert len(contents(taken(path, **OPTIONS))) == 70


def test_a_row_is_described_without_its_files_and_recalled_elsewhere(tmp_path):
    rows, files = pictures()
    for path in (folder(tmp_path, rows, files), archive(tmp_path, {"data.csv": as_csv(rows), **files})):
        row = taken(path, **OPTIONS).rows[0]
        told = json.loads(json.dumps(row.describe()))
        assert "base64" not in json.dumps(told)
        assert recalled(told) == (row.request, row.label)


def test_what_a_person_writes_names_no_file_of_ours(tmp_path):
    trap = {"$file": {"path": "/etc/passwd", "name": "x", "size": 1, "sha256": "", "packing": None}}
    rows = [{"inputs": {"x": [[n]], "trap": trap}} for n in range(60)]
    row = taken(put(tmp_path, as_jsonl(rows), "data.jsonl"), "tensors", "inputs").rows[0]
    assert recalled(json.loads(json.dumps(row.describe())))[0] == row.request
    assert row.request["inputs"]["trap"] == trap


def test_a_file_that_changes_afterwards_is_not_served(tmp_path):
    rows, files = pictures()
    found = taken(folder(tmp_path, rows, files), **OPTIONS)
    for content in (b"other", b"picture 99", b""):
        put(tmp_path, content, "images/0.png")
        with pytest.raises(DataRefused) as caught:
            contents(found)
        assert caught.value.code == "data-changed"
    (tmp_path / "images/0.png").unlink()
    with pytest.raises(DataRefused):
        contents(found)


# where paths may not lead


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "images/../../secret",
        "/etc/passwd",
        "C:\\secret",
        "..\\secret",
        "\\\\host\\share",
        "~/secret",
        "a\0b",
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_paths_that_lead_out(tmp_path, path, zipped):
    put(tmp_path, b"secret", "secret")
    rows, files = pictures(2)
    rows.append({"image": path, "label": "cat"})
    inner = tmp_path / "inner"
    content = as_jsonl(rows)
    made = (
        archive(tmp_path, {"data.jsonl": content, **files})
        if zipped
        else folder(inner, rows[:2], files).with_name(put(inner, content, "x.jsonl").name)
    )
    facts = refused(made, "data-path-outside", **OPTIONS)
    assert (facts["row"], facts["column"], facts["path"]) == (3, "image", path)


def test_links_that_lead_out(tmp_path):
    put(tmp_path, b"secret", "secret.png")
    rows, files = pictures(3)
    path = folder(tmp_path / "inner", rows, files)
    (tmp_path / "inner/images/1.png").unlink()
    (tmp_path / "inner/images/1.png").symlink_to(tmp_path / "secret.png")
    assert refused(path, "data-path-outside", **OPTIONS)["row"] == 2
    (tmp_path / "inner/images/1.png").unlink()
    (tmp_path / "inner/images/1.png").symlink_to("0.png")  # one that stays inside is as good as a file
    assert refused(path, "data-too-few", **OPTIONS)


def test_a_linked_folder_that_leads_out(tmp_path):
    put(tmp_path, b"secret", "elsewhere/0.png")
    rows, _ = pictures(1)
    path = put(tmp_path, as_csv(rows), "inner/data.csv")
    (tmp_path / "inner/images").symlink_to(tmp_path / "elsewhere")
    assert refused(path, "data-path-outside", **OPTIONS)["row"] == 1


@pytest.mark.parametrize("path", ["images/none.png", "images", ".", "x" * 250 + ".png", "loop", "pipe"])
def test_paths_of_no_file(tmp_path, path):
    rows, files = pictures(1)
    table = folder(tmp_path, [*rows, {"image": path, "label": "cat"}], files)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    code = "data-path-outside" if path == "." else "data-path-missing"
    facts = refused(table, code, **OPTIONS)
    assert (facts["row"], facts["column"], facts["path"]) == (2, "image", path[:200])


def test_a_file_that_is_too_large(tmp_path):
    rows, files = pictures(1)
    table = folder(tmp_path, rows, files)
    with (tmp_path / "images/0.png").open("wb") as file:
        file.truncate(1 << 33)
    assert refused(table, "data-too-large", **OPTIONS)["row"] == 1


@pytest.mark.parametrize(
    "image", ["data:image/png;base64,###", {"base64": "#"}, {"base64": 3}, {"url": "x"}, 3, "A" * 2000 + "#"]
)
def test_content_that_is_none(tmp_path, image):
    rows = [{"image": image, "label": "cat"}]
    facts = refused(put(tmp_path, as_jsonl(rows), "data.jsonl"), "data-cell", **OPTIONS)
    assert (facts["row"], facts["column"]) == (1, "image")


# folders and archives


def test_a_folder_without_a_table(tmp_path):
    assert refused(tmp_path, "data-no-table", **OPTIONS)["expected"] == "data.csv, data.tsv, data.jsonl"
    put(tmp_path, "x", "one.csv")
    put(tmp_path, "x", "two.csv")
    assert refused(tmp_path, "data-no-table", **OPTIONS)["found"] == "one.csv, two.csv"


def test_an_archive_without_a_table(tmp_path):
    facts = refused(archive(tmp_path, {"a.png": b"x"}), "data-no-table", **OPTIONS)
    assert facts["found"] == "a.png"


def test_a_spreadsheet_is_told_from_an_archive(tmp_path):
    path = archive(tmp_path, {"[Content_Types].xml": "x", "xl/workbook.xml": "x"}, "data.xlsx")
    assert refused(path, "data-format", **OPTIONS)["found"] == "Office (.xlsx, .docx)"


@pytest.mark.parametrize("name", ["../data.csv", "/data.csv", "a/../../b.png", "C:\\b.png"])
def test_an_archive_whose_names_lead_out(tmp_path, name):
    rows, files = pictures()
    path = archive(tmp_path, {"data.csv": as_csv(rows), **files, name: "x"})
    assert refused(path, "data-path-outside", **OPTIONS)["path"].endswith(name.rpartition("/")[2])


def test_a_broken_archive(tmp_path):
    rows, files = pictures()
    data = archive(tmp_path, {"data.csv": as_csv(rows), **files}).read_bytes()
    for cut in (10, len(data) // 2, len(data) - 5):
        assert refused(put(tmp_path, data[:cut], "cut.zip"), "data-zip-broken", **OPTIONS)
    for place in range(0, len(data), 97):  # anything may come of a byte turned, but no other exception
        turned = bytearray(data)
        turned[place] ^= 0xFF
        with contextlib.suppress(DataRefused):
            contents(taken(put(tmp_path, bytes(turned), "turned.zip"), **OPTIONS))


def test_a_locked_archive(tmp_path):
    rows, files = pictures()
    data = bytearray(archive(tmp_path, {"data.csv": as_csv(rows), **files}).read_bytes())
    place = 0
    while (place := data.find(b"PK\x01\x02", place)) >= 0:
        data[place + 8] |= 1
        place += 4
    assert refused(put(tmp_path, bytes(data), "locked.zip"), "data-zip-broken", **OPTIONS)["why"].endswith(
        "a password is needed"
    )


def test_an_archive_packed_in_a_rare_way(tmp_path):
    rows, files = pictures()
    path = archive(tmp_path, {"data.csv": as_csv(rows), **files}, compression=zipfile.ZIP_LZMA)
    assert refused(path, "data-zip-broken", **OPTIONS)


def test_an_archive_that_swells(tmp_path):
    """The table itself as a bomb: a hundred megabytes out of a hundred kilobytes."""
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("data.csv", "w") as member:
        member.write(b"image,label\n")
        for _ in range(100):
            member.write(b"\n" * (1 << 20))
    facts = refused(path, "data-zip-bomb", **OPTIONS)
    assert facts["member"] == "data.csv"
    assert facts["size"] > 100 << 20 > facts["limit"]


def test_a_member_that_swells(tmp_path):
    rows, files = pictures(3)
    path = archive(tmp_path, {"data.csv": as_csv(rows), **files, "images/1.png": bytes(40 << 20)})
    assert refused(path, "data-too-large", **OPTIONS)["row"] == 2


def test_a_member_whose_size_lies(tmp_path):
    """A forged size passes every check that believes it; what is unpacked is counted, too."""
    rows, files = pictures(3)
    data = archive(tmp_path, {"data.csv": as_csv(rows), **files}).read_bytes()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = bomb.compress(bytes(100 << 20)) + bomb.flush()
    path = archive(tmp_path, {"data.csv": as_csv(rows), **files}, "forged.zip")
    with zipfile.ZipFile(path, "a") as opened:
        info = zipfile.ZipInfo("images/forged.png")
        opened.writestr(info, packed, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    data[place + 10 : place + 12] = struct.pack("<H", zipfile.ZIP_DEFLATED)
    data[place + 24 : place + 28] = struct.pack("<I", 1000)
    rows = [{"image": "images/forged.png", "label": "cat"}]
    with zipfile.ZipFile(io.BytesIO(bytes(data))) as opened:
        assert opened.getinfo("images/forged.png").file_size == 1000
    path.write_bytes(bytes(data))
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("data.jsonl", as_jsonl(rows))
    forged = put(tmp_path, path.read_bytes().replace(b"data.csv", b"data.xxx"), "again.zip")
    facts = refused(forged, "data-zip-broken", **OPTIONS)
    assert "images/forged.png" in facts["why"]


def test_a_link_inside_an_archive_is_no_file(tmp_path):
    rows, files = pictures(2)
    path = archive(tmp_path, {"data.csv": as_csv([*rows, {"image": "link.png", "label": "cat"}]), **files})
    with zipfile.ZipFile(path, "a") as opened:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(info, "/etc/passwd")
    assert refused(path, "data-path-missing", **OPTIONS)["row"] == 3


def test_an_archive_that_lists_far_too_much(tmp_path):
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 1 << 30, 0, 0)
    path = put(tmp_path, b"PK\x03\x04" + bytes(100) + end, "data.zip")
    assert refused(path, "data-zip-broken", **OPTIONS)["why"] == "lists far too many members"


# labels that are files


def test_a_mask_is_read_from_beside_the_table(tmp_path):
    from tests.deployer.optimizer.metrics.test_metrics import LEFT, RIGHT, mask

    left, right = (base64.b64decode(mask(one)["base64"]) for one in (LEFT, RIGHT))
    files = {"l.png": left, "r.png": right, **{f"{n}.jpg": f"{n}".encode() for n in range(60)}}
    rows = [{"image": f"{n}.jpg", "label": ("l.png", "r.png")[n % 2]} for n in range(60)]
    found = taken(folder(tmp_path, rows, files), "image-segmentation", "image", labels=["person"])
    answers = [
        {"results": [{"label": "person", "mask": mask(LEFT if row.number % 2 else RIGHT)}]}
        for row in found.rows
    ]
    judge = judge_for("image-segmentation")
    assert value(judge.tally(answers, [row.label for row in found.rows])) == 1
    named = [{**row, "label": [{"label": "person", "mask": row["label"]}]} for row in rows]
    put(tmp_path, as_jsonl(named), "named.jsonl")
    found = taken(tmp_path / "named.jsonl", "image-segmentation", "image", labels=["person"])
    assert value(judge.tally(answers, [row.label for row in found.rows])) == 1
    facts = refused(
        tmp_path / "named.jsonl", "data-label-unknown", "image-segmentation", "image", labels=["cat"]
    )
    assert facts["label"] == "person"


def test_a_label_that_is_no_mask(tmp_path):
    path = folder(tmp_path, [{"image": "a.jpg", "label": "a.jpg"}], {"a.jpg": b"no picture"})
    assert refused(path, "data-label", "image-segmentation", "image")["row"] == 1
