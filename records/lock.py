"""A lock on a file that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(file: Path, what: str) -> Iterator[None]:
    """Hold the lock while the block runs; FileExistsError if another one holds it, which names its process."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode()
            holder += ", this one" if holder == str(os.getpid()) else ""
            raise FileExistsError(
                f"{what} is in use: process {holder} is training there. Wait for it, stop it, or choose another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        os.close(descriptor)
