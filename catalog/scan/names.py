"""The folder of a version: plain files and folders under plain names, the announced ones and no others."""

import os
import re
import stat
import unicodedata
from collections import deque
from pathlib import Path
from typing import Any

from catalog.scan import Row, Verdict
from catalog.scan.findings import shown

MOST_FILES = 10_000
DEEPEST = 16
MANIFEST = "manifest.json"  # catalog.manifest.FILE_NAME; that module loads more than a child needs
LONGEST_NAME = 255  # bytes of one part of a path, which is what file systems take
FAULTS = {
    "utf-8": ("不是 UTF-8", "it is no UTF-8"),
    "nfc": ("字符不是组合形式（NFC）", "its characters are not composed (NFC)"),
    "control": ("含有控制字符或改变方向的字符", "it holds characters that control or turn the text"),
    "dots": ("含有空的部分或点号路径", "it has empty parts or dots for folders"),
    "length": ("某个部分超过 255 字节", "a part of it is longer than 255 bytes"),
    "dash": ("以连字符开头，会被当作选项", "it begins with a hyphen, as an option does"),
    "reserved": ("是 Windows 保留的名字", "Windows keeps this name for a device"),
    "edge": ("首尾有空格或以点结尾", "it begins or ends with a blank, or ends with a point"),
    "sign": ("含有系统另有用途的符号", "it holds a sign that systems read otherwise"),
}
"""What may be wrong with a name, in zh and en."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?", re.I)
_MEANT_OTHERWISE = set('<>:"|?*\\')


def check(folder: Path, artifacts: list[dict[str, Any]], *, linked: bool) -> tuple[list[Row], dict[str, int]]:
    """Rows of what is wrong with the folder, and size by path of the announced files that may be opened.

    `linked`: the folder was laid out by catalog.blobs, whose files are hard links into the store and stand
    beside the catalogue's own manifest. Everywhere else a second name of a file is refused, since what is
    checked under one name could be changed under the other.
    """
    wanted = {str(a["path"]): a for a in artifacts}
    rows: list[Row] = []
    found: dict[str, int] = {}
    seen: dict[str, str] = {}
    for path, entry in _entries(folder, rows):
        if linked and path == MANIFEST:
            continue
        if why := name_fault(path):
            rows.append(_fail("file-name-unsafe", path, fault=FAULTS[why][1], fault_zh=FAULTS[why][0]))
        folded = unicodedata.normalize("NFC", path).casefold()
        if seen.setdefault(folded, path) != path:
            rows.append(_fail("file-name-collides", path, other=shown(seen[folded])))
        if code := _kind_fault(entry, linked):
            rows.append(_fail(code, path))
        elif not stat.S_ISDIR(entry.st_mode):
            if path in wanted:
                found[path] = entry.st_size
            else:
                rows.append(_fail("file-unexpected", path))
    present = {row.path for row in rows} | set(found)
    rows += [_fail("file-missing", path) for path in wanted if shown(path, 255) not in present | set(found)]
    return rows, found


def name_fault(path: str) -> str:
    """What is wrong with a relative path, as a key of FAULTS; "" when nothing is."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return "utf-8"
    if unicodedata.normalize("NFC", path) != path:
        return "nfc"
    if any(unicodedata.category(c)[0] == "C" for c in path):  # controls, directions, unassigned
        return "control"
    for part in path.split("/"):
        if fault := _part_fault(part):
            return fault
    return ""


def _part_fault(part: str) -> str:
    if part in ("", ".", ".."):
        return "dots"
    if len(part.encode()) > LONGEST_NAME:
        return "length"
    if part.startswith("-"):
        return "dash"
    if _RESERVED.fullmatch(part):
        return "reserved"
    if part != part.strip() or part.endswith("."):
        return "edge"
    return "sign" if _MEANT_OTHERWISE & set(part) else ""


def _entries(folder: Path, rows: list[Row]) -> "list[tuple[str, os.stat_result]]":
    """All that lies in the folder, by path within it; links are not followed."""
    entries: list[tuple[str, os.stat_result]] = []
    open_folders = deque([("", 0)])
    while open_folders:
        inner, depth = open_folders.popleft()
        with os.scandir(folder / inner) as scan:
            for entry in scan:
                path = f"{inner}/{entry.name}" if inner else entry.name
                status = entry.stat(follow_symlinks=False)
                entries.append((path, status))
                if len(entries) > MOST_FILES:
                    rows.append(_fail("file-too-many", "", limit=MOST_FILES))
                    return []
                if stat.S_ISDIR(status.st_mode):
                    if depth + 1 >= DEEPEST:
                        rows.append(_fail("file-too-deep", path, limit=DEEPEST))
                    else:
                        open_folders.append((path, depth + 1))
    return sorted(entries, key=lambda each: each[0])


def _kind_fault(status: os.stat_result, linked: bool) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "link-symbolic"
    if stat.S_ISDIR(status.st_mode):
        return ""
    if not stat.S_ISREG(status.st_mode):
        return "file-special"
    return "link-hard" if status.st_nlink > 1 and not linked else ""


def _fail(code: str, path: str, **facts: Any) -> Row:
    name = shown(path, LONGEST_NAME)
    return Row("folder", Verdict.failed, code, name, {"path": name, **facts})
