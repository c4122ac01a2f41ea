"""A Python that looks to Bide as on Windows: on the path, it is imported at the start of each process.

The modules that only POSIX has are gone for all. Attributes of others are hidden from Bide and these tests alone,
because the standard library has chosen its own means by `sys.platform`, and goes on with them. In place of `msvcrt`
is one that locks bytes of files as it does.
"""

import asyncio
import os
import signal
import socket
import struct
import sys
import time
from errno import EACCES
from fcntl import F_WRLCK, fcntl
from types import ModuleType
from typing import Any, NoReturn

GONE = ["fcntl", "grp", "pwd", "resource", "syslog", "readline", "uvloop"]  # termios is what click chose
HIDDEN: dict[ModuleType, tuple[str, ...]] = {
    os: (
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_SYNC", "O_DSYNC", "O_NONBLOCK", "O_TMPFILE"),
        *("pread", "pwrite", "preadv", "pwritev", "fchmod", "fchown", "chown", "lchown", "fchdir", "chroot"),
        *("fdatasync", "sync", "lockf", "mkfifo", "mknod", "statvfs", "fstatvfs", "sendfile", "posix_fallocate"),
        *("fork", "forkpty", "register_at_fork", "setsid", "setpgid", "killpg", "nice", "wait", "wait3", "wait4"),
        *("getuid", "geteuid", "getgid", "getegid", "setuid", "setgid", "getpgid", "getpgrp", "getgroups"),
        *("sched_getaffinity", "sched_setaffinity", "sched_yield", "getloadavg", "uname", "sysconf", "confstr"),
        *("set_blocking", "get_blocking", "pipe2", "openpty", "ttyname", "ctermid", "memfd_create", "pidfd_open"),
    ),
    signal: (
        *(
            "SIGURG",
            "SIGKILL",
            "SIGHUP",
            "SIGCHLD",
            "SIGUSR1",
            "SIGUSR2",
            "SIGALRM",
            "SIGPIPE",
            "SIGQUIT",
            "SIGTSTP",
        ),
        *("pthread_kill", "pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK", "setitimer", "alarm"),
        *("siginterrupt", "sigpending", "sigwait", "sigtimedwait", "pause"),
    ),
    time: (
        *("clock_gettime", "clock_gettime_ns", "clock_settime", "clock_getres", "CLOCK_BOOTTIME"),
        *("CLOCK_MONOTONIC", "CLOCK_REALTIME", "tzset", "pthread_getcpuclockid"),
    ),
    socket: ("AF_UNIX", "SO_REUSEPORT", "sethostname", "send_fds", "recv_fds"),
}


def hide(module: ModuleType, names: tuple[str, ...]) -> None:
    hidden = frozenset(names)

    class AsOnWindows(ModuleType):
        def __getattribute__(self, name: str) -> Any:
            if name in hidden and sys._getframe(1).f_globals.get("__name__", "").startswith("bide"):
                raise AttributeError(f"module has no attribute '{name}', as on Windows")
            return super().__getattribute__(name)

    module.__class__ = AsOnWindows


def unavailable(self: object, *_: object) -> NoReturn:
    raise NotImplementedError


def locking(handle: int, mode: int, size: int) -> None:
    """Lock bytes from where the file stands, for whoever has this handle. Other modes are not asked for here."""
    assert mode in (msvcrt.LK_LOCK, msvcrt.LK_NBLCK)
    wanted = struct.pack("hhqqi4x", F_WRLCK, os.SEEK_CUR, 0, size, 0)
    try:
        fcntl(handle, _F_OFD_SETLKW if mode == msvcrt.LK_LOCK else _F_OFD_SETLK, wanted)
    except BlockingIOError as error:
        raise PermissionError(EACCES, "Permission denied") from error


def open_no_directory(path: Any, flags: int, *rest: Any, **others: Any) -> int:
    """Windows cannot open a directory as a file."""
    if os.path.isdir(path) and sys._getframe(1).f_globals.get("__name__", "").startswith("bide"):
        raise PermissionError(EACCES, "Permission denied", str(path))
    return _open(path, flags, *rest, **others)


_F_OFD_SETLK, _F_OFD_SETLKW = 37, 38
_open, os.open = os.open, open_no_directory
msvcrt = ModuleType("msvcrt")
msvcrt.LK_LOCK, msvcrt.LK_NBLCK, msvcrt.locking = 1, 2, locking
sys.modules["msvcrt"] = msvcrt
sys.modules.update(dict.fromkeys(GONE))
for module, names in HIDDEN.items():
    hide(module, tuple(name for name in names if hasattr(module, name)))
for name in ("add_signal_handler", "remove_signal_handler", "add_reader", "add_writer"):
    setattr(asyncio.SelectorEventLoop, name, unavailable)
