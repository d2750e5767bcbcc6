"""What a bundle carries of the shop itself."""

import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from marketplace.bundles import shop


def test_the_requirements_are_all_that_the_shop_imports_and_none_of_its_tools() -> None:
    names = {canonicalize_name(each.name) for each in shop.requirements()}
    assert {
        "litestar",
        "onnxruntime",
        "sqlmodel",
        "docker",
        "huggingface-hub",
        "uvicorn",
        "setuptools",
    } <= names
    assert not names & {"pytest", "ruff", "mypy", "playwright", "opc-market"}


def test_the_source_is_whole_and_holds_nothing_private() -> None:
    parts = shop.source()
    assert {"source/pyproject.toml", "source/marketplace/cli/__init__.py", "install.sh"} <= set(parts)
    assert "source/web/templates/base.html" in parts
    assert not [
        path for path in parts if "__pycache__" in path or "/tests/" in path or "node_modules" in path
    ]
    assert parts["install.sh"].mode == 0o755


def test_hidden_files_stay_at_home(tmp_path: Path) -> None:
    for name in (".env", ".swap/inner.py", "kept.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in shop._files_below(tmp_path)] == ["kept.py"]


def test_a_wheel_that_was_left_short_does_not_count(tmp_path: Path) -> None:
    wanted = Requirement("a==1")
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("a.py", "")
    assert shop._kept(tmp_path, wanted) == wheel
    wheel.write_bytes(wheel.read_bytes()[:20])
    assert shop._kept(tmp_path, wanted) is None
