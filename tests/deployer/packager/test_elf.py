"""Shared objects without their symbols: the same in memory, and loaded by the real loader."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

from deployer.packager.elf import shorn
from tests.deployer.packager.shared_objects import read

SOURCE = """
int counter = 7;
int zeros[70000];
static __thread int own = 5;
int sum(int a, int b) { zeros[69999] += 1; return a + b + counter + own + zeros[69999]; }
"""
LOAD = "import ctypes, sys; lib = ctypes.CDLL(sys.argv[1]); print(lib.sum(1, 2), lib.sum(1, 2))"


@pytest.fixture
def built(tmp_path: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        (pytest.fail if os.environ.get("REQUIRE_ALL") == "1" else pytest.skip)("no C compiler here")
    (tmp_path / "sum.c").write_text(SOURCE)
    out = tmp_path / "libsum.so"
    subprocess.run([compiler, "-g", "-fPIC", "-shared", "-o", out, tmp_path / "sum.c"], check=True)
    return out


def test_it_is_smaller_and_loads_and_counts_as_before(built: Path) -> None:
    whole = built.read_bytes()
    less = shorn(whole)
    assert len(less) < len(whole)
    assert read(less) == read(whole)
    assert shorn(less) == less
    cut = built.with_name("libcut.so")
    cut.write_bytes(less)
    for path in (built, cut):
        said = subprocess.run([sys.executable, "-c", LOAD, path], capture_output=True, text=True, check=True)
        assert said.stdout.split() == ["16", "17"]


def test_what_was_moved_apart_is_moved_together(built: Path) -> None:
    """As after a tool that appends segments: what lies between two segments goes, memory stays."""
    whole = bytearray(built.read_bytes())
    apart = 1 << 20
    table, count = int.from_bytes(whole[32:40], "little"), int.from_bytes(whole[56:58], "little")
    places = [int.from_bytes(whole[table + 56 * i + 8 : table + 56 * i + 16], "little") for i in range(count)]
    last = max(
        place for i, place in enumerate(places) if whole[table + 56 * i : table + 56 * i + 4] == b"\1\0\0\0"
    )
    for i, place in enumerate(places):
        if place >= last:
            at = table + 56 * i + 8
            whole[at : at + 8] = (place + apart).to_bytes(8, "little")
    spread = bytes(whole[:last]) + bytes(apart) + bytes(whole[last:])
    less = shorn(spread)
    assert read(less) == read(spread)
    assert len(less) <= len(shorn(built.read_bytes()))
    cut = built.with_name("libmoved.so")
    cut.write_bytes(less)
    said = subprocess.run([sys.executable, "-c", LOAD, cut], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["16", "17"]


def test_libraries_of_real_wheels_are_the_same_in_memory() -> None:
    site = Path(numpy.__file__).parents[1]
    libraries = [*site.glob("numpy.libs/*.so*"), *site.glob("pillow.libs/*.so*"), *site.glob("uvloop/*.so")]
    assert libraries
    for path in libraries:
        whole = path.read_bytes()
        less = shorn(whole)
        before, after = read(whole), read(less)
        assert after == before and len(less) <= len(whole)


@pytest.mark.parametrize(
    "odd",
    [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF\x02\x01" + b"\xff" * 200],
)
def test_other_files_are_left_alone(odd: bytes) -> None:
    assert shorn(odd) == odd


def test_a_cut_short_one_is_left_alone(built: Path) -> None:
    for size in (64, 100, 500, 5000):
        short = built.read_bytes()[:size]
        assert shorn(short) == short


def test_segments_without_alignment_and_without_bytes() -> None:
    """No alignment may be written as 0; one of zeros alone has a place all the same, in step with memory."""
    loads = [(1, 5, 0, 0, 0, 4000, 4000, 0), (1, 6, 0x1900, 0x5900, 0, 0, 64, 0x1000)]
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01", 3, 62, 1, 0, 64, 9000, 0, 64, 56, 2, 0, 0, 0
    )
    whole = (header + b"".join(struct.pack("<IIQQQQQQ", *load) for load in loads)).ljust(9500, b"x")
    less = shorn(whole)
    assert len(less) == 4000
    first, second = (struct.unpack_from("<IIQQQQQQ", less, 64 + 56 * index) for index in range(2))
    assert (first[2], first[5]) == (0, 4000)
    assert (second[2] - second[3]) % 0x1000 == 0
