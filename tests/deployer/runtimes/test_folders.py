"""A folder for sockets is ours alone, or it is refused."""

import os
from pathlib import Path

import pytest

from deployer.runtimes.folders import private_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_private_folder_is_made_and_found_again(tmp_path: Path) -> None:
    wanted = tmp_path / "above" / "run"
    assert private_folder(wanted) == private_folder(wanted) == wanted
    assert mode(wanted) == mode(wanted.parent) == 0o700


def test_our_own_folder_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    assert mode(private_folder(tmp_path / "run")) == 0o700


@pytest.mark.parametrize("there", ["link", "dangling", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, there: str) -> None:
    path, target = tmp_path / "run", tmp_path / "target"
    if there == "file":
        path.touch()
    else:
        path.symlink_to(target)
    if there == "link":
        target.mkdir(mode=0o755)
    with pytest.raises(PermissionError, match="not a folder"):
        private_folder(path)
    assert not target.exists() or mode(target) == 0o755


def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    path = Path("/usr")  # root's
    if os.getuid() == 0:
        path = private_folder(tmp_path / "run")
        os.chown(path, 12345, -1)
    with pytest.raises(PermissionError, match=f"belongs to user .*, not to user {os.getuid()}"):
        private_folder(path)
