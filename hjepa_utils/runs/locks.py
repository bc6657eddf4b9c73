"""One process at a time: locks of Linux and macOS, which vanish with the process that holds them."""

import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary, finalize


class Locked(RuntimeError):
    """Another process holds the lock; `owner` says which, in words."""

    def __init__(self, owner):
        super().__init__(f"locked by {owner}")
        self.owner = owner


class Lock:
    """A file that is locked for as long as anything refers to this object."""

    def __init__(self, descriptor):
        finalize(self, os.close, descriptor)


# A process has one lock on a file, and closing any descriptor of the file gives it up: so there is one.
_held: WeakValueDictionary[tuple[int, Path], Lock] = WeakValueDictionary()


def acquire(file, *, wait=False):
    """The `Lock` of this process on `file`: all who ask for it here share it, and the last one gives it up.

    Without `wait`, raises `Locked` if another process has it. Where the disk knows no locks, as some
    mounted ones, nothing is locked.
    """
    key = (os.getpid(), Path(file).resolve())  # a forked process inherits the table and no locks
    lock = _held.get(key)
    if lock is None:
        lock = _held[key] = Lock(_locked(file, wait))
    return lock


def _locked(file, wait):
    """A descriptor of the file, locked."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        owner = os.pread(descriptor, 40, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise Locked(owner or "a process") from None
    except OSError:
        return descriptor
    with suppress(OSError):  # the words are for people only
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
    return descriptor


@contextmanager
def alone(file):
    """Wait until no other process is here, and keep others waiting meanwhile."""
    lock = acquire(file, wait=True)
    try:
        yield
    finally:
        del lock  # a traceback that is kept would keep it
