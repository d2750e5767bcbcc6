"""The second scanner, really installed and really run, and what becomes of it when it is not there."""

import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from catalog.scan import Row, Verdict
from deployer.optimizer.targets.errors import TargetUnavailable
from marketplace import scanners
from marketplace.examining import Subject, examine
from marketplace.problems import WORDS, problem
from tests.marketplace.test_examining import told
from tests.shelf_files import cache_dir, model_dir
from tests.shop import Shop


@pytest.fixture(scope="session")
def home() -> Path:
    """A home whose environments are kept between runs; the package index is asked once."""
    place = cache_dir()
    try:
        scanners.prepare(place, scanners.ENVIRONMENT, 1, lambda *_: None)
    except TargetUnavailable as error:
        pytest.skip(f"the scanner cannot be installed here: {error.facts['why']}")
    return place


class Evil:
    """Runs something when it is unpickled by whoever is so careless."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("import pathlib; pathlib.Path('canary').touch()",))


def scan(folder: Path, home: Path | None, tmp_path: Path, name: str = "modelaudit") -> list[Row]:
    work = tmp_path / "scanner-work"
    work.mkdir()
    paths = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    rows = scanners.scan(name, folder, paths, home=home, work=work)
    for row in rows:
        assert row.check == "scanner"
        assert row.scanner == name
        if row.code:
            assert row.code in WORDS
            assert all("–" not in problem(row.code, lang, **{"path": row.path, **row.facts}).detail
                       for lang in ("zh", "en"))  # fmt: skip
    return rows


def test_a_good_model_passes_file_by_file(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copyfile(model_dir("doc-orientation") / "model.onnx", folder / "model.onnx")
    (folder / "labels.json").write_text('["a", "b"]')
    rows = scan(folder, home, tmp_path)
    assert [(row.path, row.verdict) for row in rows] == [
        ("labels.json", Verdict.passed),
        ("model.onnx", Verdict.passed),
    ]
    assert {row.scanner_version for row in rows} == {scanners.PACKAGES["modelaudit"]}


def test_a_pickle_that_runs_something_is_found_and_does_not_run(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(Evil()))
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    rows = scan(folder, home, tmp_path)
    assert {row.path: row.verdict for row in rows} == {
        "model.pkl": Verdict.failed,
        "model.pt": Verdict.failed,
    }
    assert not list(tmp_path.rglob("canary"))


def test_what_it_cannot_read_to_the_end_is_refused(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    whole = (model_dir("doc-orientation") / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])
    (row,) = scan(folder, home, tmp_path)
    assert row.verdict == Verdict.failed


def test_without_a_home_or_a_known_name_it_fails_closed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (row,) = scan(folder, None, tmp_path)
    assert (row.verdict, row.code) == (Verdict.failed, "scanner-missing")


def test_where_it_cannot_be_fetched_it_fails_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (row,) = scan(folder, tmp_path / "home", tmp_path)
    assert (row.verdict, row.code) == (Verdict.failed, "scanner-missing")
    assert not scanners.ready(tmp_path / "home")


def test_an_environment_that_is_broken_fails_closed(home: Path, tmp_path: Path) -> None:
    """The folder says that it is whole, and the package in it is not."""
    broken = tmp_path / "home" / "environments" / "scanner"
    (broken / "packages" / "modelaudit").mkdir(parents=True)
    shutil.copyfile(home / "environments" / "scanner" / "environment.json", broken / "environment.json")
    (broken / "packages" / "modelaudit" / "__init__.py").write_text("raise SystemExit(0)\n")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.json").write_text("{}")
    (row,) = scan(folder, tmp_path / "home", tmp_path)
    assert (row.verdict, row.code) == (Verdict.failed, "scanner-failed")


def test_it_speaks_to_nobody_and_starts_nothing(home: Path) -> None:
    """What switches its telemetry off is what the package reads; the sandbox has no sockets in any case."""
    packages = home / "environments" / "scanner" / "packages"
    program = (
        "import os, sys; sys.path.insert(0, sys.argv[1]);"
        "from marketplace.scanners import QUIET; os.environ.update(QUIET);"
        "from modelaudit.telemetry import is_telemetry_enabled as on; print(on())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(packages)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_with_the_scanner_a_folder_has_a_row_for_each_file(home: Path) -> None:
    import json

    folder = model_dir("doc-orientation")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    licenses = {"package": "Apache-2.0", "weights": "Apache-2.0"}
    rows = examine(
        folder, Subject(manifest, licenses=licenses), scanner="modelaudit", home=home, strict=False
    )
    assert [(row.path, row.verdict) for row in rows if row.check == "scanner"] == [
        ("model.onnx", Verdict.passed)
    ]
    assert "scanner-none" not in told(rows)
    assert next(row for row in rows if row.check == "dry-run").verdict == Verdict.passed


def test_the_setting_names_it(tmp_path: Path) -> None:
    with (
        pytest.raises(AssertionError, match="MARKET_SCANNER"),
        Shop.start(tmp_path / "home", MARKET_SCANNER="picklescan"),
    ):
        pass
