"""A root file system for Python out of Debian packages, read in plain Python: no root, chroot or daemon.

apt-get resolves and fetches with lists and state of its own, so the machine's are neither used nor
touched; the machine's sources and keys are, so what is fetched is verified as usual. Works on Debian and
what descends from it. No shell, no package manager, nothing that runs as anybody else.
"""

import contextlib
import gzip
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from deployer.errors import PackagingFailed
from deployer.packager.layers import Entry, Tree, file

# Of everything that Debian's Python asks for, what a server loads; the last two bring licences.
NEEDED = re.compile(
    r"^(libc6|libgcc-s1|libstdc\+\+6|zlib1g|libexpat1|libbz2-1\.0|liblzma5|libffi\d+|libssl3(t64)?|libuuid1"
    r"|libpython3\.\d+-(minimal|stdlib)|python3\.\d+-minimal|gcc-\d+-base|base-files)$"
)
ASKED_FOR = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "base-files")
# Of those, what no server loads: documents but for licences, programs, the tools of Python and its clients
# of protocols that nobody speaks here, and the libraries of the C library's own tools.
LEFT_OUT = re.compile(
    r"^usr/share/(?!doc/[^/]+(/copyright)?$|common-licenses/)|^usr/lib/[^/]+/(gconv|perl|engines-3|ossl-modules)/"
    r"|^(usr/)?s?bin/(?!python3)|^var/|^lib/systemd/|^etc/(?!ld\.so|os-release|debian_version)"
    r"|^(usr/)?lib/[^/]+/lib(BrokenLocale|anl|c_malloc_debug|expatw|memusage|nsl|nss_compat|nss_hesiod|pcprofile"
    r"|thread_db)\.so"
    r"|^usr/lib/python3[^/]*/(lib2to3|idlelib|tkinter|ensurepip|distutils|turtledemo|test|pydoc_data|curses|dbm"
    r"|sqlite3|unittest|venv|wsgiref|xmlrpc|msilib|config-[^/]*)/|/__pycache__/"
    r"|^usr/lib/python3[^/]*/(_aix_support|_osx_support|_pydecimal|_pyio|aifc|antigravity|bdb|cgi|cgitb|chunk"
    r"|cProfile|crypt|doctest|ftplib|imaplib|imghdr|mailbox|mailcap|modulefinder|nntplib|pdb|pickletools|poplib"
    r"|profile|pstats|pyclbr|pydoc|smtpd|smtplib|sndhdr|sunau|tabnanny|telnetlib|this|trace|turtle|webbrowser"
    r"|xdrlib|zipapp)\.py$"
    r"|/lib-dynload/(_dbm|_crypt|_ctypes_test|_curses|audioop|ossaudiodev|readline|nis|_tkinter|_gdbm|_sqlite3"
    r"|_lsprof|_test|_xx|xx)[^/]*$"
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
BROKEN = (lzma.LZMAError, zlib.error, EOFError, ValueError, tarfile.TarError, gzip.BadGzipFile)
LINE = re.compile(r"^'[^']+' (\S+) \d+")


def available() -> bool:
    """Whether this machine has apt-get and its sources."""
    return shutil.which("apt-get") is not None


def _apt(root: Path, *arguments: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    apt = shutil.which("apt-get")
    if apt is None:
        raise PackagingFailed(image="base", why="no apt-get on this machine")
    settings = root / "apt.conf"
    return subprocess.run(  # noqa: S603 (apt-get with settings of our own)
        [apt, "-q", "-c", str(settings), *arguments],
        cwd=cwd,
        env={**os.environ, "APT_CONFIG": str(settings), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _complaint(*runs: "subprocess.CompletedProcess[str]") -> str:
    """The first thing that apt-get complains of; what kept its lists from it explains what it misses."""
    lines = [line.strip() for run in runs for line in run.stderr.splitlines()]
    said = [line[3:] for line in lines if line.startswith(("W: ", "E: "))]
    return said[0] if said else f"apt-get ended with {runs[-1].returncode}"


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
        # An unreachable extra source of the machine is no reason to stop; missing packages are seen below.
        updated = _apt(root, "update")
        listed = _apt(root, "install", "--print-uris", "-qq", "--no-install-recommends", *ASKED_FOR)
        files = [match[1] for line in listed.stdout.splitlines() if (match := LINE.match(line))]
        if not any(PYTHON.match(file) for file in files):
            why = f"this machine's package sources give no python3: {_complaint(updated, listed)}"
            raise PackagingFailed(image="base", why=why)
        names = [name for file in files if NEEDED.match(name := file.split("_", 1)[0])]
        loaded = _apt(root, "download", *names, cwd=root / "debs")
        if loaded.returncode:
            raise PackagingFailed(image="base", why=_complaint(loaded))
        with contextlib.suppress(OSError):  # somebody else was faster
            (root / "debs").replace(folder)
    return sorted(folder.glob("*.deb"))


def python_version(packages: list[Path]) -> str:
    """The Python that the packages hold, such as 3.11; raises PackagingFailed when they hold none."""
    for path in packages:
        if match := PYTHON.match(path.name):
            return f"3.{match[1]}"
    where = packages[0].parent if packages else "the cache"
    raise PackagingFailed(
        image="base", why=f"no python3 among the packages in {where}; remove them, and they are fetched again"
    )


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


def _content(path: Path, part: str) -> tarfile.TarFile:
    """The package's `control` or `data`, whatever it is packed with."""
    for name, data in _members(path):
        if name == f"{part}.tar.xz":
            return tarfile.open(fileobj=io.BytesIO(lzma.decompress(data)))
        if name == f"{part}.tar.gz":
            return tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))
        if name == f"{part}.tar":
            return tarfile.open(fileobj=io.BytesIO(data))
        if name == f"{part}.tar.zst":
            # Python has no zstd before 3.14; where apt-get is, dpkg-deb is.
            flag = {"control": "--ctrl-tarfile", "data": "--fsys-tarfile"}[part]
            done = subprocess.run(  # noqa: S603
                ["dpkg-deb", flag, str(path)],  # noqa: S607
                capture_output=True,
                check=True,
            )
            return tarfile.open(fileobj=io.BytesIO(done.stdout))
    raise PackagingFailed(image="base", why=f"{path.name} holds no {part}")


def _package(path: Path) -> Tree:
    tree: Tree = {}
    with _content(path, "data") as archive:
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
    return tree | _record(path)


def _record(path: Path) -> Tree:
    """What dpkg would know of the package, where scanners look for it in images without dpkg."""
    name = path.name.split("_", 1)[0]
    with _content(path, "control") as archive:
        found = next((member for member in archive if member.name.removeprefix("./") == "control"), None)
        source = archive.extractfile(found) if found else None
        return {f"var/lib/dpkg/status.d/{name}": file(source.read())} if source else {}


def root_tree(packages: list[Path]) -> Tree:
    """The packages as one root file system, with users, folders to mount on, and python3."""
    tree: Tree = {}
    for package in packages:
        try:
            tree |= _package(package)
        except (*BROKEN, subprocess.CalledProcessError) as error:
            why = f"{package} is broken ({error}); remove its folder, and it is fetched again"
            raise PackagingFailed(image="base", why=why) from error
    tree |= {name: Entry(link=f"usr/{name}") for name in MERGED}
    tree["usr/bin/python3"] = Entry(link=f"python{python_version(packages)}")
    tree |= {path: file(text.encode()) for path, text in USERS.items()}
    tree |= {path: Entry(0o1777 if path == "tmp" else 0o755) for path in FOLDERS}
    return tree
