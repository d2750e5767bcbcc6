"""Seccomp filter of a model server: it answers on its unix socket and reaches out for nothing.

The server may start threads but no process and no program; it may open unix stream sockets but connect
to none (a root shop's child could otherwise talk to the Docker engine's socket); it may signal nobody
but itself. What Landlock does not watch (modes, owners, extended attributes, UDP, mounts, tracing,
io_uring, which would go round this filter) is refused here.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
MODE_FILTER = 2

# Instructions of classic BPF: load a word of seccomp_data, mask, compare, return.
LOAD, MASK, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
CLONE_THREAD = 0x10000
AF_UNIX, SOCK_STREAM, SOCK_TYPE = 1, 1, 0xF
NEWEST_KNOWN = 463  # calls from this number on are younger than this list

Instruction = tuple[int, int, int, int]

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); 0 where the architecture has no such call (0 itself is never refused)
REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, 0),
    "vfork": (58, 0),
    "connect": (42, 203),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, 0),
    "ioperm": (173, 0),
    "modify_ldt": (154, 0),
    "personality": (135, 92),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "fanotify_init": (300, 262),
    "truncate": (76, 45),
    "mknod": (133, 0),
    "mknodat": (259, 33),
    "fchmod": (91, 52),
    "chown": (92, 0),
    "fchown": (93, 55),
    "lchown": (94, 0),
    "fchownat": (260, 54),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "utime": (132, 0),
    "utimes": (235, 0),
    "futimesat": (261, 0),
    "utimensat": (280, 88),
    "setpriority": (141, 140),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "capset": (126, 91),
}
# The HTTP server sets the mode of its socket. Its folder is private, so the call may do nothing.
PRETENDED = {"chmod": (90, 0), "fchmodat": (268, 53), "fchmodat2": (452, 452)}
# glibc goes back to clone, whose flags a filter can see.
MISSING = {"clone3": (435, 435)}
CLONE, SOCKET, SOCKETPAIR = (56, 220), (41, 198), (53, 199)
TO_SELF_ONLY = {"kill": (62, 129), "tgkill": (234, 131), "rt_tgsigqueueinfo": (297, 240)}
LIMITS = (302, 261)  # prlimit64, whose pid 0 is the caller


def supported() -> bool:
    """Whether the call numbers of this machine are known here."""
    return sys.platform == "linux" and os.uname().machine in AUDIT_ARCH and _pointer_bits() == 64


def _pointer_bits() -> int:
    return struct.calcsize("P") * 8


def _fail(code: int) -> Instruction:
    return (RETURN, 0, 0, FAIL | code)


def _argument(index: int) -> Instruction:
    return (LOAD, 0, 0, ARGUMENTS + 8 * index)


def _on(number: int, body: list[Instruction]) -> list[Instruction]:
    """Run `body`, which always returns, when the call has this number."""
    return [(EQUAL, 0, len(body), number), *body]


def _only_if(index: int, value: int, mask: int = 0xFFFFFFFF) -> list[Instruction]:
    """Allow when the argument under the mask is the value, refuse otherwise."""
    return [
        _argument(index),
        (MASK, 0, 0, mask),
        (EQUAL, 0, 1, value),
        (RETURN, 0, 0, ALLOW),
        _fail(errno.EPERM),
    ]


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter for an architecture and the one process that it will bind."""
    column = list(AUDIT_ARCH).index(machine)
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCH),
        (EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        # Also catches the x32 numbers, which would go round the list.
        (AT_LEAST, 0, 1, NEWEST_KNOWN),
        _fail(errno.ENOSYS),
    ]
    for calls, answer in ((REFUSED, errno.EPERM), (PRETENDED, 0), (MISSING, errno.ENOSYS)):
        for numbers in calls.values():
            if numbers[column]:
                code += _on(numbers[column], [_fail(answer)])
    for numbers in TO_SELF_ONLY.values():
        code += _on(numbers[column], _only_if(0, pid))
    code += _on(CLONE[column], _only_if(0, CLONE_THREAD, CLONE_THREAD))
    own = [_argument(0), (EQUAL, 0, 1, 0), (RETURN, 0, 0, ALLOW), *_only_if(0, pid)]
    code += _on(LIMITS[column], own)
    family = [_argument(0), (EQUAL, 1, 0, AF_UNIX), _fail(errno.EPERM), *_only_if(1, SOCK_STREAM, SOCK_TYPE)]
    for socket_call in (SOCKET, SOCKETPAIR):
        code += _on(socket_call[column], family)
    return [*code, (RETURN, 0, 0, ALLOW)]


def forbid_new_privileges() -> bool:
    """Set no_new_privs, which Landlock and seccomp ask for; False where the system has no such thing."""
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0  # type: ignore[no-any-return]


def install() -> bool:
    """Bind this process to the filter for good; False where the kernel or the architecture cannot."""
    if not supported():
        return False
    packed = b"".join(struct.pack("HBBI", *step) for step in program(os.uname().machine, os.getpid()))
    buffer = ctypes.create_string_buffer(packed)
    header = struct.pack("HxxxxxxQ", len(packed) // 8, ctypes.addressof(buffer))
    done: int = ctypes.CDLL(None).prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.c_char_p(header), 0, 0)
    return done == 0
