"""A seccomp filter for workers: no network, no other process, no new program, no change of the machine.

seccomp-bpf (Linux 3.17, `Documentation/userspace-api/seccomp_filter.rst`): a classic BPF program that the
kernel runs at every system call. Refused calls fail with EPERM, so that a library can fall back.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from errno import EACCES, ENOSYS, EPERM

from operators.kernel import checked

# name: (number on x86_64, number on aarch64; -1 where the call does not exist)
REFUSED: dict[str, tuple[int, int]] = {
    # network: also what would use or make a socket that is open already
    **{"socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200)},
    **{"listen": (50, 201), "accept": (43, 202), "accept4": (288, 242)},
    # io_uring runs calls that this filter would not see
    **{"io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427)},
    # other processes and other programs; limits are for one process, so there may be only one
    **{"execve": (59, 221), "execveat": (322, 281), "fork": (57, -1), "vfork": (58, -1)},
    **{"ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271)},
    **{
        "process_madvise": (440, 440),
        "kcmp": (312, 272),
        "pidfd_open": (434, 434),
        "pidfd_getfd": (438, 438),
    },
    **{"pidfd_send_signal": (424, 424), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138)},
    **{"rt_tgsigqueueinfo": (297, 240), "setpriority": (141, 140), "sched_setscheduler": (144, 119)},
    **{"sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30)},
    # memory and queues that outlive the process or escape its limits
    **{"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "shmat": (30, 196)},
    **{"msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "userfaultfd": (323, 282)},
    # metadata of files, which Landlock does not guard
    **{"chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452)},
    **{"chown": (92, -1), "lchown": (94, -1), "fchown": (93, 55), "fchownat": (260, 54)},
    **{"setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14)},
    **{"lremovexattr": (198, 15), "fremovexattr": (199, 16), "setxattrat": (463, 463)},
    **{"removexattrat": (466, 466), "utime": (132, -1), "utimes": (235, -1), "futimesat": (261, -1)},
    **{"utimensat": (280, 88)},
    # namespaces, mounts and handles that lead around paths
    **{"mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51)},
    **{"unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429)},
    **{"fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433)},
    **{"mount_setattr": (442, 442), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265)},
    # the kernel itself
    **{"bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217)},
    **{"request_key": (249, 218), "kexec_load": (246, 104), "kexec_file_load": (320, 294)},
    **{"init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106)},
    **{"reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89)},
    **{"quotactl": (179, 60), "settimeofday": (164, 170), "clock_settime": (227, 112)},
    **{"clock_adjtime": (305, 266), "adjtimex": (159, 171), "sethostname": (170, 161)},
    **{"setdomainname": (171, 162), "syslog": (103, 116), "iopl": (172, -1), "ioperm": (173, -1)},
    "personality": (135, 92),
}
ONLY_ITSELF: dict[str, tuple[int, int]] = {"kill": (62, 129), "tgkill": (234, 131)}
# what a program that is run for a conversion does with files and processes of its own; sockets are Unix's alone
_OF_PROGRAMS = frozenset({
    "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "execve", "fork", "vfork", "tkill",
    "setpriority", "sched_setscheduler", "sched_setparam", "sched_setattr", "memfd_create", "shmget", "shmat",
    "chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat",
})  # fmt: skip
_AF_UNIX = 1
# name: (numbers, place of the mode among its arguments); LibreOffice asks it with W_OK of /tmp alone, for its socket
_ACCESS = {"access": ((21, -1), 1), "faccessat": ((269, 48), 2), "faccessat2": ((439, 439), 2)}
_W_OK = 2
PRLIMIT64, CLONE, CLONE3, SECCOMP = (302, 261), (56, 220), (435, 435), (317, 277)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_*
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000
_SET_MODE_FILTER, _GET_ACTION_AVAIL, _FLAG_TSYNC = 1, 2, 1
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little-endian
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One struct sock_filter; the jumps count instructions to skip."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _refuse(number: int, error: int = EPERM) -> bytes:
    return _op(_EQUAL, number, 0, 1) + _op(_RETURN, _ERRNO | error)


def _allow_if(number: int, test: int, value: int) -> bytes:
    """Allows the call if its first argument passes the test, and refuses it otherwise."""
    return _decide(number, 0, test, value, _ALLOW, _ERRNO | EPERM)


def _decide(number: int, argument: int, test: int, value: int, passed: int, failed: int) -> bytes:
    """Ends with one action if the call's argument (from 0) passes the test, and with the other if it does not."""
    return (
        _op(_EQUAL, number, 0, 4)
        + _op(_LOAD, _FIRST_ARGUMENT + 8 * argument)
        + _op(test, value, 0, 1)
        + _op(_RETURN, passed)
        + _op(_RETURN, failed)
    )


def program(machine: str, pid: int, programs: bool = False) -> bytes:
    """The BPF program for a machine (`x86_64` or `aarch64`) and the process that it will confine.

    With `programs` it may start others, all as confined, and talk to them; the network stays closed. Asked whether a
    path can be written it says no, so that LibreOffice makes its socket where `OSL_SOCKET_PATH` tells, not in /tmp.
    """
    column, arch = _ARCHITECTURES[machine]
    parts = [_op(_LOAD, _ARCH), _op(_EQUAL, arch, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, _NUMBER)]
    if machine == "x86_64":
        parts += [_op(_AT_LEAST, _X32_BIT, 0, 1), _op(_RETURN, _KILL)]
    refused = [numbers[column] for name, numbers in REFUSED.items() if not (programs and name in _OF_PROGRAMS)]
    parts += [_refuse(number) for number in refused if number >= 0]
    parts += [_allow_if(PRLIMIT64[column], _EQUAL, 0)]
    if programs:
        parts += [_allow_if(REFUSED["socket"][column], _EQUAL, _AF_UNIX)]
        asked = [(numbers[column], place) for numbers, place in _ACCESS.values() if numbers[column] >= 0]
        parts += [_decide(number, place, _EQUAL, _W_OK, _ERRNO | EACCES, _ALLOW) for number, place in asked]
    else:
        parts += [_allow_if(numbers[column], _EQUAL, pid) for numbers in ONLY_ITSELF.values()]
        parts += [_allow_if(CLONE[column], _ANY_BIT, _CLONE_THREAD)]
    # clone3 keeps its flags in memory, where BPF cannot look; the C library then falls back to clone
    parts += [_refuse(CLONE3[column], ENOSYS), _op(_RETURN, _ALLOW)]
    return b"".join(parts)


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _number() -> int | None:
    """The number of seccomp(2) on this machine; None where no filter is written for it."""
    known = _ARCHITECTURES.get(platform.machine())
    return SECCOMP[known[0]] if known else None


def available() -> bool:
    """Whether this kernel filters system calls, and a filter is written for this machine."""
    number = _number()
    if number is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    try:
        checked(number, _GET_ACTION_AVAIL, 0, ctypes.byref(action))
    except OSError:
        return False
    return True


def confine(programs: bool = False) -> None:
    """Refuses the calls above to this process for good; needs no_new_privileges before. Raises OSError."""
    number = _number()
    if number is None:
        raise OSError(ENOSYS, "no seccomp filter for this machine")
    code = program(platform.machine(), os.getpid(), programs)
    checked(number, _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(_Program(len(code) // 8, code)))
