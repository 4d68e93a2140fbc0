"""Room kept beside a queue file, so that acks still work when the disk is full."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from pathlib import Path

RESERVE_BYTES = 4 * 1024 * 1024
"""As much as the write-ahead log grows before SQLite empties it into the file: 1,000 pages of
4 KiB (https://www.sqlite.org/wal.html#automatic_checkpoint)."""

_CHUNK = 64 * 1024


@lru_cache(maxsize=16)  # asked for in every commit; to make a path takes 5 us
def path_of(path: Path) -> Path:
    """Return the path of a queue file's reserve."""
    return path.with_name(path.name + "-reserve")


def is_there(path: Path) -> bool:
    """Return whether the reserve is whole."""
    try:
        return path_of(path).lstat().st_size == RESERVE_BYTES
    except OSError:
        return False


def keep(path: Path) -> bool:
    """Make the reserve if it is not there; return whether it is now."""
    if is_there(path):
        return True
    if free_bytes(path) < RESERVE_BYTES:
        return False  # trying would take from other processes what their acks need now
    reserve = path_of(path)
    try:
        handle = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        return False
    try:
        for _ in range(RESERVE_BYTES // _CHUNK):
            # Not zeros, which some file systems keep for nothing.
            if os.write(handle, os.urandom(_CHUNK)) != _CHUNK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        give_up(path)
        return False
    finally:
        os.close(handle)
    return True


def give_up(path: Path) -> bool:
    """Free the reserve's bytes; return whether there were any."""
    try:
        path_of(path).unlink()
    except OSError:
        return False
    return True


def is_disk_full(path: Path) -> bool:
    """Return whether there is no room for SQLite's own files."""
    return free_bytes(path) < _CHUNK


def free_bytes(path: Path) -> int:
    """Return how much room the disk of a queue file has."""
    free = os.statvfs(path.parent)
    return free.f_bavail * free.f_frsize
