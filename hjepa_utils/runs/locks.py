"""One process at a time: locks of Linux and macOS, which vanish with the process that holds them."""

import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path


class Locked(RuntimeError):
    """Another process holds the lock; `owner` says which, in words."""

    def __init__(self, owner):
        super().__init__(f"locked by {owner}")
        self.owner = owner


def acquire(file, *, wait=False):
    """Lock `file` for this process and return a descriptor for `release`.

    A process may lock twice what it holds. Without `wait`, raises `Locked` if another process has it.
    Where the disk knows no locks, as some mounted ones, nothing is locked.
    """
    descriptor = os.open(Path(file), os.O_RDWR | os.O_CREAT, 0o644)
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


def release(descriptor):
    """Give the lock back."""
    os.close(descriptor)


@contextmanager
def alone(file):
    """Wait until no other process is here, and keep others waiting meanwhile."""
    descriptor = acquire(file, wait=True)
    try:
        yield
    finally:
        release(descriptor)
