"""A root file system for Python out of Debian packages, read in plain Python: no root, chroot or daemon.

apt-get resolves and fetches with lists and state of its own, so the machine's are neither used nor
touched; the machine's sources and keys are, so what is fetched is verified as usual. Works on Debian and
what descends from it. No shell, no package manager, nothing that runs as anybody else.
"""

import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deployer.errors import PackagingFailed
from deployer.packager.layers import Entry, Tree, file

# Of everything that Debian's Python asks for, what a server loads.
NEEDED = re.compile(
    r"^(libc6|libgcc-s1|libstdc\+\+6|zlib1g|libexpat1|libbz2-1\.0|liblzma5|libffi\d+|libssl3(t64)?|libuuid1"
    r"|libcrypt1|libpython3\.\d+-(minimal|stdlib)|python3\.\d+-minimal)$"
)
ASKED_FOR = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
LEFT_OUT = re.compile(
    r"^usr/share/(?!doc/[^/]+/copyright$)|^usr/lib/[^/]+/(gconv|perl)/|^(usr/)?s?bin/(?!python3)|^var/|^lib/systemd/"
    r"|^etc/(?!ld\.so)|^usr/lib/python3[^/]*/(lib2to3|idlelib|tkinter|ensurepip|distutils|turtledemo|test"
    r"|pydoc_data|curses|dbm|sqlite3|config-[^/]*)/|/__pycache__/|/lib-dynload/(_dbm|_curses|readline|nis"
    r"|_tkinter|_gdbm|_sqlite3|_lsprof|_test|_xxtest|xx)[^/]*$"
)
PYTHON = re.compile(r"^python3\.(\d+)-minimal_")
MERGED = ("bin", "sbin", "lib", "lib64")
FOLDERS = ("proc", "sys", "dev", "etc", "run", "run/market", "tmp", "model", "app", "home", "root")
USERS = {
    "etc/passwd": "root:x:0:0:root:/root:/nologin\nnonroot:x:65532:65532:nonroot:/app:/nologin\n",
    "etc/group": "root:x:0:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "hosts: files\n",
}
SETTINGS = """\
Dir::State "{root}";
Dir::State::lists "{root}/lists";
Dir::State::status "{root}/status";
Dir::Cache "{root}/cache";
Dir::Log "{root}";
APT::Architecture "{arch}";
APT::Architectures "{arch}";
APT::Sandbox::User "";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
"""
LINE = re.compile(r"^'[^']+' (\S+) \d+")


def available() -> bool:
    """Whether this machine has apt-get and its sources."""
    return shutil.which("apt-get") is not None


def _run(root: Path, *arguments: str, cwd: Path | None = None) -> str:
    apt = shutil.which("apt-get")
    if apt is None:
        raise PackagingFailed(image="base", why="no apt-get on this machine")
    settings = root / "apt.conf"
    done = subprocess.run(  # noqa: S603 (apt-get with settings of our own)
        [apt, "-q", "-c", str(settings), *arguments],
        cwd=cwd,
        env={**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # An unreachable extra source of the machine is no reason to stop; missing packages are seen below.
    if done.returncode and arguments[0] != "update":
        why = done.stderr.strip().splitlines()[-1:] or [f"apt-get ended with {done.returncode}"]
        raise PackagingFailed(image="base", why=why[0])
    return done.stdout


def fetch(folder: Path, arch: str) -> list[Path]:
    """The .deb files for a base, fetched into a folder once; refuses when the sources lack one."""
    kept = sorted(folder.glob("*.deb"))
    if kept:
        return kept
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".apt-") as private:
        root = Path(private)
        for part in ("lists/partial", "cache/archives/partial", "debs"):
            (root / part).mkdir(parents=True)
        (root / "status").touch()
        (root / "apt.conf").write_text(SETTINGS.format(root=root, arch=arch))
        _run(root, "update")
        listed = _run(root, "install", "--print-uris", "-qq", "--no-install-recommends", *ASKED_FOR)
        files = [match[1] for line in listed.splitlines() if (match := LINE.match(line))]
        names = [name for file in files if NEEDED.match(name := file.split("_", 1)[0])]
        if not any(PYTHON.match(file) for file in files):
            raise PackagingFailed(image="base", why="this machine's package sources have no python3")
        _run(root, "download", *names, cwd=root / "debs")
        (root / "debs").replace(folder)
    return sorted(folder.glob("*.deb"))


def python_version(packages: list[Path]) -> str:
    """The Python that the packages hold, such as 3.11."""
    minors = [match[1] for path in packages if (match := PYTHON.match(path.name))]
    return f"3.{minors[0]}"


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Members of an ar archive, which is what a .deb is."""
    data = path.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise PackagingFailed(image="base", why=f"{path.name} is no Debian package")
    at = 8
    while at + 60 <= len(data):
        name = data[at : at + 16].decode().strip().rstrip("/")
        size = int(data[at + 48 : at + 58])
        yield name, data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _content(path: Path) -> tarfile.TarFile:
    for name, data in _members(path):
        if name == "data.tar.xz":
            return tarfile.open(fileobj=io.BytesIO(lzma.decompress(data)))
        if name == "data.tar.gz":
            return tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))
        if name == "data.tar":
            return tarfile.open(fileobj=io.BytesIO(data))
        if name == "data.tar.zst":
            # Python has no zstd before 3.14; where apt-get is, dpkg-deb is.
            done = subprocess.run(  # noqa: S603
                ["dpkg-deb", "--fsys-tarfile", str(path)],  # noqa: S607
                capture_output=True,
                check=True,
            )
            return tarfile.open(fileobj=io.BytesIO(done.stdout))
    raise PackagingFailed(image="base", why=f"{path.name} holds no files")


def _package(path: Path) -> Tree:
    tree: Tree = {}
    with _content(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if not name or member.isdir() or LEFT_OUT.search(name):
                continue
            if name.split("/", 1)[0] in MERGED:
                name = f"usr/{name}"
            if member.issym():
                tree[name] = Entry(link=member.linkname)
            elif member.isfile() and (source := archive.extractfile(member)):
                tree[name] = file(source.read(), member.mode & 0o755)
            elif member.islnk() and (source := archive.extractfile(member)):
                tree[name] = file(source.read(), 0o755)
    return tree


def root_tree(packages: list[Path]) -> Tree:
    """The packages as one root file system, with users, folders to mount on, and python3."""
    tree: Tree = {}
    for package in packages:
        tree |= _package(package)
    tree |= {name: Entry(link=f"usr/{name}") for name in MERGED}
    tree["usr/bin/python3"] = Entry(link=f"python{python_version(packages)}")
    tree |= {path: file(text.encode()) for path, text in USERS.items()}
    tree |= {path: Entry(0o1777 if path == "tmp" else 0o755) for path in FOLDERS}
    return tree
