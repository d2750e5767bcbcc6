"""Which packages a task needs, and what is said when they cannot be had."""

import ast
import zipfile
from pathlib import Path

import pytest

import deployer
from deployer.errors import PackagingFailed
from deployer.packager import wheels

ROOT = Path(deployer.__file__).parents[1]
PIPELINES = ROOT / "deployer" / "server" / "pipelines"
IMPORTED = {"pillow": "PIL"}  # where a package is imported by another name


def imports(path: Path) -> set[str]:
    """Every module that a file imports when it runs, now or later; not those for type checkers alone."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.update(name.name for name in child.names)
            if isinstance(child, ast.ImportFrom):
                found.update({str(child.module), *(f"{child.module}.{name.name}" for name in child.names)})
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


def reached(start: Path) -> set[str]:
    """The packages from elsewhere that are reached from a module, however far."""
    seen: set[Path] = set()
    packages: set[str] = set()
    waiting = [start]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in imports(path):
            if not module.startswith("deployer"):
                packages.add(module.split(".")[0])
                continue
            file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
            waiting += [known for known in (file, file.with_suffix("") / "__init__.py") if known.exists()]
    return packages


@pytest.mark.parametrize("path", sorted(PIPELINES.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_the_table_says_what_each_pipeline_imports(path: Path) -> None:
    used = reached(path)
    needed = {
        group
        for group, names in wheels.GROUPS.items()
        if group != wheels.CORE and any(IMPORTED.get(name, name) in used for name in names)
    }
    assert set(wheels.TASKS.get(path.stem.replace("_", "-"), ())) == needed


def test_every_task_of_the_table_has_a_pipeline() -> None:
    assert {task.replace("-", "_") for task in wheels.TASKS} <= {path.stem for path in PIPELINES.glob("*.py")}


def test_only_what_the_tasks_need_is_wanted() -> None:
    assert wheels.groups(frozenset({"file-type"})) == ("core",)
    assert wheels.groups(frozenset({"image-to-text", "text-to-speech"})) == ("core", "pictures", "sound")
    assert set(wheels.groups()) == set(wheels.GROUPS)
    assert wheels.wanted(frozenset({"image-to-text"}))["pictures"] == {"pillow": wheels.versions()["pillow"]}


def test_a_device_brings_its_own_onnxruntime() -> None:
    core = wheels.wanted(frozenset(), {"onnxruntime-openvino": "1.24.1", "numpy": "1.26.4"})["core"]
    assert "onnxruntime" not in core
    assert (core["onnxruntime-openvino"], core["numpy"]) == ("1.24.1", "1.26.4")


def wheel(folder: Path, name: str) -> Path:
    (folder / "cp311-amd64").mkdir(parents=True, exist_ok=True)
    path = folder / "cp311-amd64" / name
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("thing.py", "x = 1\n")
    return path


def test_what_was_fetched_is_found_by_name_and_version(tmp_path: Path) -> None:
    newer = wheel(tmp_path, "some_thing-1.10-py3-none-any.whl")
    older = wheel(tmp_path, "some_thing-1.1-py3-none-any.whl")
    other = wheel(tmp_path, "some-1.1-py3-none-any.whl")
    assert wheels.fetch(tmp_path, "3.11", "amd64", {"some": "1.1", "Some-Thing": "1.10"}) == [other, newer]
    assert wheels.fetch(tmp_path, "3.11", "amd64", {"some.thing": "1.1"}) == [older]


def test_an_index_that_is_down_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    # As a fall of the power may leave one.
    wheel(tmp_path, "no_such_thing-1.0-py3-none-any.whl").write_bytes(b"")
    with pytest.raises(PackagingFailed) as refused:
        wheels.fetch(tmp_path, "3.11", "amd64", {"no-such-thing": "1.0"})
    why = str(refused.value.facts["why"])
    assert "index does not answer for no-such-thing 1.0" in why and "refused" in why
    assert [path.name for path in (tmp_path / "cp311-amd64").iterdir()] == [
        "no_such_thing-1.0-py3-none-any.whl"
    ]
