"""A child in the sandbox tries what it must not do; on lesser systems the grade says what is missing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from deployer.runtimes import landlock, seccomp
from deployer.runtimes.probe import probe
from deployer.spec import Sandbox

COMPLETE = landlock.abi() >= landlock.WATCHES_ALL_WRITES and seccomp.supported()

# A child that first makes its kernel an older one, by a filter of its own, and then enters the sandbox.
OLD_KERNEL = """
import ctypes, dataclasses, errno, json, socket, struct, sys
from deployer.runtimes import sandbox, seccomp
number, code = int(sys.argv[1]), errno.ENOSYS
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | code), (0x06, 0, 0, 0x7FFF0000)]
if number == 157:  # prctl: only its seccomp part
    steps = [(0x20, 0, 0, 0), (0x15, 0, 3, 157), (0x20, 0, 0, 16), (0x15, 0, 1, 22),
             (0x06, 0, 0, 0x00050000 | errno.EINVAL), (0x06, 0, 0, 0x7FFF0000)]
assert seccomp.forbid_new_privileges()
buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *s) for s in steps))
header = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(buffer))
assert ctypes.CDLL(None).prctl(22, 2, ctypes.c_char_p(header), 0, 0) == 0
applied = sandbox.apply(sandbox.Policy(read=("/usr", "/lib", "/lib64", "/proc/self")))
def denied(attempt):
    try:
        attempt()
    except OSError:
        return True
    return False
print(json.dumps({**dataclasses.asdict(applied),
    "file": denied(lambda: open("/etc/passwd").read()),
    "socket": denied(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close())}))
"""


def test_everything_that_a_server_must_not_do_is_denied() -> None:
    found = probe()
    if COMPLETE:
        assert found.outcome == dict.fromkeys(found.outcome, "denied")
        assert (found.grade, found.missing) == (Sandbox.full, ())
    else:
        assert found.grade is not Sandbox.full
        assert found.missing
    assert len(found.outcome) >= 14


def test_without_the_sandbox_the_same_child_reaches_all_of_it_and_says_so() -> None:
    found = probe(False)
    assert found.grade is Sandbox.none
    assert found.missing == ("switched off",)
    for name in (
        "read /etc/passwd",
        "list the home",
        "connect over TCP",
        "signal the shop",
        "start a program",
    ):
        assert found.outcome[name] == "allowed"


@pytest.mark.parametrize(
    ("number", "missing", "file", "socket"),
    [(landlock.CREATE_RULESET, "landlock", False, True), (157, "seccomp", True, False)],
)
def test_a_kernel_that_lacks_one_part_gives_a_partial_sandbox(
    number: int, missing: str, file: bool, socket: bool
) -> None:
    done = subprocess.run([sys.executable, "-c", OLD_KERNEL, str(number)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if not COMPLETE:
        assert found["grade"] != "full" and found["missing"]
        return
    assert found["grade"] == "partial"
    assert found["missing"] == [missing]
    assert (found["file"], found["socket"]) == (file, socket)


def test_the_filter_knows_each_call_on_both_architectures() -> None:
    headers = {
        "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        "aarch64": Path("/usr/include/asm-generic/unistd.h"),
    }
    for column, (machine, header) in enumerate(headers.items()):
        program = seccomp.program(machine, 1234)
        assert len(program) < 4096
        if not header.exists():
            continue
        lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
        defined = {name: int(number) for name, number in lines}
        tables = (seccomp.REFUSED, seccomp.PRETENDED, seccomp.MISSING, seccomp.TO_SELF_ONLY)
        for table in tables:
            for name, numbers in table.items():
                assert defined.get(name) in {None, numbers[column]}, (machine, name)
