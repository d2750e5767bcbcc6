"""Landlock through ctypes: a process gives up every file that is not on its list, for good.

Needs no root and no set-up. Linux has it from 5.13 on; what a kernel's version of it (ABI) lacks is
told by `abi()`: truncation is watched from 3 on, TCP from 4, device ioctls from 5, signals and abstract
sockets from 6.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_FLAG, PATH_BENEATH = 1, 1

WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE = 1 << 1, 1 << 2, 1 << 3, 1 << 5
REMOVE_DIR, MAKE_DIR, REFER = 1 << 4, 1 << 7, 1 << 13
MAKE_REG, MAKE_SOCK, TRUNCATE = 1 << 8, 1 << 9, 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_FILE | MAKE_REG | MAKE_SOCK | TRUNCATE
WORK = WRITE | MAKE_DIR | REMOVE_DIR | REFER  # folders too, and moves between them
FOR_FILES = READ_FILE | WRITE_FILE | TRUNCATE  # the other rights exist for folders only

TCP = 0b11  # bind and connect
SCOPES = 0b11  # abstract sockets and signals

WATCHES_ALL_WRITES = 3
"""From this ABI on no way is left to change a file outside the list."""


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *wide)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), f"landlock call {number}")
    return result


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(CREATE_RULESET, 0, 0, VERSION_FLAG)
    except OSError:
        return 0


def _handled(version: int) -> bytes:
    """struct landlock_ruleset_attr, as long as this ABI knows it."""
    files = (1 << 13) - 1
    for since, right in ((2, 1 << 13), (3, TRUNCATE), (5, 1 << 15)):
        files |= right if version >= since else 0
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return struct.pack("QQQ", files, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)[:size]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    if not path.is_dir():
        rights &= FOR_FILES
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, handle)
        _call(ADD_RULE, ruleset, PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(handle)


def restrict(read: Iterable[Path], write: Iterable[Path], *, folders: bool = False) -> int:
    """Keep this process to these files and folders; paths that do not exist are passed over.

    With `folders` it may also make and remove folders where it may write.

    no_new_privs must be set. Returns the ABI in force, 0 when the kernel has no Landlock.
    """
    version = abi()
    if not version:
        return 0
    attributes = _handled(version)
    known = struct.unpack("Q", attributes[:8])[0]
    try:
        ruleset = _call(CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
    except OSError:
        return 0
    try:
        for paths, rights in ((read, READ), (write, WORK if folders else WRITE)):
            for path in paths:
                if path.exists():
                    _allow(ruleset, path, rights & known)
        _call(RESTRICT_SELF, ruleset, 0)
    except OSError:
        return 0
    finally:
        os.close(ruleset)
    return version
