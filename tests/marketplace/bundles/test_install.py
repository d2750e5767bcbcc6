"""The installer of a bundle: what is damaged changes nothing, and nothing is left lying about."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from marketplace.bundles import shop
from marketplace.bundles.contents import Item, Table, digest

FILES = {"source/pyproject.toml": b"[project]\n", "wheels/a-1-py3-none-any.whl": b"wheel"}
TAKEN = '#!/bin/sh\necho "$0 $*" >> "$(dirname "$0")/said"\n'


def bundle(path: Path, files: dict[str, bytes], link: str = "") -> Path:
    items = [Item(name, digest(content), len(content)) for name, content in sorted(FILES.items())]
    table = Table(product="1", listings=[], machine=shop.machine(), items=items)
    with tarfile.open(path, "w") as archive:
        for name, content in {"bundle.json": table.encode(), **files}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/"
            archive.addfile(info)
    return path


def install(file: Path, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "PYTHON": sys.executable, "LANG": "C.UTF-8", **environment}
    command = ["sh", str(shop.INSTALLER), str(file), str(folder), "--json"]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("harm", ["changed", "missing", "more", "link"])
def test_a_damaged_bundle_installs_nothing(tmp_path: Path, harm: str) -> None:
    files = dict(FILES)
    if harm == "changed":
        files["source/pyproject.toml"] = b"[project]#"
    if harm == "missing":
        files["source/other.py"] = files.pop("source/pyproject.toml")
    if harm == "more":
        files["wheels/b-1-py3-none-any.whl"] = b""
    file = bundle(tmp_path / "stick.tar", files, "source/catalog" if harm == "link" else "")
    done = install(file, tmp_path / "shop", PYTHONOPTIMIZE="1")
    assert done.returncode == 1 and "damaged" in done.stderr
    assert not list((tmp_path / "shop").iterdir())


def test_it_sets_up_in_a_folder_with_blanks_and_leaves_no_copy(tmp_path: Path) -> None:
    folder = tmp_path / "my shop"
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "market"):
        (programs / name).write_text(TAKEN)
        (programs / name).chmod(0o755)
    file = bundle(tmp_path / "my stick.tar", FILES)
    done = install(file, folder)
    assert done.returncode == 0, done.stderr
    said = (programs / "said").read_text().splitlines()
    assert len(said) == 3
    assert said[0].endswith("/wheels/a-1-py3-none-any.whl")
    assert said[1].endswith(f"--editable {folder}")
    assert said[2] == f"{programs}/market bundle install {file} --json"
    assert sorted(path.name for path in folder.iterdir()) == [".venv", "pyproject.toml"]


def test_a_bundle_for_another_machine_is_refused(tmp_path: Path) -> None:
    file = bundle(tmp_path / "stick.tar", FILES)
    told = file.read_bytes().replace(b'"platform":"linux/', b'"platform":"lunix/')
    file.write_bytes(told)
    done = install(file, tmp_path / "shop")
    assert done.returncode == 1 and "lunix/" in done.stderr
    assert json.dumps(shop.machine()["platform"])[1:-1] in done.stderr
