"""The runtime directory: one sub-directory per testbed with its sockets, its log and the lock it holds while it lives.

Two locks on one file, as each does what the other cannot. flock belongs to the open file, so the lab gets it from the
process that started it without a gap. A POSIX record lock belongs to a process, so the kernel can be asked who holds
it: byte 0 by the lab's process from its birth, byte 1 once it is ready. What an ended lab leaves is stale by its lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from emu.errors import HostError, InputError

API, ATTACH, LOCK, LOG = "api.sock", "attach.sock", "lock", "log"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid
_ALIVE, _READY = 0, 1
DYING_S = 0.5


@dataclass(frozen=True, slots=True)
class TestbedInfo:
    """A testbed that runs, as its lock says. `pid` is its first process; `ready` is false while it starts."""

    name: str
    pid: int
    ready: bool
    directory: Path


def runtime_directory() -> Path:
    """Made if it is not there; refused when somebody else could enter it or has put it there.

    `/run/kube-emu` for root, else `$XDG_RUNTIME_DIR/kube-emu` or `/tmp/kube-emu-UID`; `EMU_RUNTIME_DIR` overrides."""
    return checked(_wanted_directory())


def _wanted_directory() -> Path:
    if chosen := os.environ.get("EMU_RUNTIME_DIR"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/run/kube-emu")
    of_session = os.environ.get("XDG_RUNTIME_DIR", "")
    if of_session and os.path.isdir(of_session) and os.stat(of_session).st_uid == os.geteuid():
        return Path(of_session, "kube-emu")
    return Path(f"/tmp/kube-emu-{os.geteuid()}")


def checked(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass  # looked at next
    except OSError as error:
        raise _unusable(path, error) from error
    os.close(_open_directory(path))
    return path


def _open_directory(path: Path) -> int:
    """Opened, then looked at: nobody can swap it in between."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise HostError(f"{path} is not a directory of ours: {error.strerror}") from error
    found = os.fstat(fd)
    if found.st_uid == os.geteuid() and not stat.S_IMODE(found.st_mode) & 0o077:
        return fd
    os.close(fd)
    wanted = f"owner uid {os.geteuid()}, mode 0700"
    got = f"owner uid {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}"
    raise HostError(f"{path} is not safe: {got}, must be {wanted}", hint="remove it, or set EMU_RUNTIME_DIR")


class Claim:
    """A testbed's directory, locked: until every process that holds a copy of `lock` has closed it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name, self.path = name, directory / name
        self._directory = _open_directory(checked(self.path))
        try:
            self.lock = self._open(LOCK, os.O_RDWR)
            self._take()
            self.log = self._open(LOG, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
            self.api, self.attach = self._listen(API), self._listen(ATTACH)
        except OSError as error:
            self.close()
            raise _unusable(self.path, error) from error
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """A testbed that has just been killed holds its lock while its processes end."""
        deadline = time.monotonic() + DYING_S
        while True:
            try:
                return fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _already_running(self.name) from None
            time.sleep(0.01)  # nothing can be waited for: who holds it is not always known

    def _open(self, name: str, flags: int) -> int:
        return os.open(name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._directory)

    def _listen(self, name: str) -> socket.socket:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._directory)
        listener = socket.socket(socket.AF_UNIX)
        umask = os.umask(0o177)
        try:
            listener.bind(_short(self._directory, name))
        finally:
            os.umask(umask)
        listener.listen(128)
        return listener

    def hold(self, *, ready: bool = False) -> None:
        """Called by the lab's process: from now on it is found, alive or ready, by `running`."""
        fcntl.lockf(self.lock, fcntl.LOCK_EX, 1, _READY if ready else _ALIVE)

    def close(self) -> None:
        """Close this process's copies. The testbed's own stay."""
        for fd in (self._directory, getattr(self, "lock", -1), getattr(self, "log", -1)):
            if fd >= 0:
                os.close(fd)
        for listener in (getattr(self, "api", None), getattr(self, "attach", None)):
            if listener:
                listener.close()


def _unusable(path: Path, error: OSError) -> HostError:
    why = f"{error.strerror} ({error.filename})" if error.filename not in (None, str(path)) else error.strerror
    return HostError(f"{path} cannot be used: {why}", hint="set EMU_RUNTIME_DIR to a directory that can be written to")


def _short(directory: int, name: str) -> str:
    """A socket's path has 107 bytes at most, however deep the directory is."""
    return f"/proc/self/fd/{directory}/{name}"


def _already_running(name: str) -> InputError:
    return InputError("is already running", subject=f"testbed {name}", hint=f"emu down {name}, or choose another name")


@contextmanager
def claim(name: str, directory: Path) -> Iterator[Claim]:
    """Raises InputError when a testbed of that name runs."""
    if not _NAME.fullmatch(name):
        raise InputError(f"testbed name is {name!r}, must be lower-case letters, digits and '-', 63 at most")
    claimed = Claim(name, checked(directory))
    try:
        yield claimed
    finally:
        claimed.close()


def running(directory: Path) -> list[TestbedInfo]:
    if not directory.is_dir():
        return []
    found = (info(entry.name, directory) for entry in sorted(directory.iterdir()))
    return [testbed for testbed in found if testbed]


def info(name: str, directory: Path) -> TestbedInfo | None:
    """None if no testbed of that name runs."""
    path = directory / name
    try:
        lock = os.open(path / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        pid = _holder(lock, _ALIVE)
        return TestbedInfo(name, pid, _holder(lock, _READY) == pid, path) if pid else None
    finally:
        os.close(lock)


def _holder(lock: int, byte: int) -> int:
    """The pid of the process that holds `byte`, as the kernel knows it; 0 when nobody does."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(lock, fcntl.F_GETLK, asked))
    return 0 if kind == fcntl.F_UNLCK else pid


def connect(name: str, directory: Path, which: str = API) -> socket.socket:
    """A connection to a running testbed. Raises InputError when there is none."""
    if not info(name, directory):
        raise not_running(name, directory)
    fd = _open_directory(directory / name)
    try:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(_short(fd, which))
        return connection
    finally:
        os.close(fd)


def not_running(name: str, directory: Path) -> InputError:
    names = ", ".join(testbed.name for testbed in running(directory))
    return InputError("is not running", subject=f"testbed {name}", hint=f"running: {names}" if names else "emu up")


def forget(name: str, directory: Path) -> None:
    """Of a testbed that has ended and whose name nobody else uses: nothing stays."""
    for each in (API, ATTACH, LOG, LOCK):
        with suppress(OSError):
            os.unlink(directory / name / each)
    with suppress(OSError):
        os.rmdir(directory / name)


def forget_sockets(name: str, directory: Path) -> None:
    """Nobody listens there any more; lock and log stay."""
    for which in (API, ATTACH):
        with suppress(OSError):
            os.unlink(directory / name / which)
