"""A damaged queue file is put under another name, and not made anew in silence."""

from __future__ import annotations

import fcntl
import os
import time
from glob import escape
from pathlib import Path
from typing import NoReturn

from mqtransport.errors import ConfigurationError

COMPANIONS = ("-journal", "-wal", "-shm")
"""What SQLite puts beside its file."""

_MARK = b"this queue file was made\n"


def mark_made(lock: int) -> None:
    """Note in the lock file that the queue file was made: from now on, empty is damaged."""
    if not was_made(lock):
        os.pwrite(lock, _MARK, 0)


def was_made(lock: int) -> bool:
    """Return whether the queue file beside this lock file has ever been one."""
    return os.fstat(lock).st_size > 0


def check(path: Path) -> None:
    """Refuse to make anew what was put aside.

    Raises:
        ConfigurationError: the file is not there, and a damaged one lies beside it.
    """
    if path.exists():
        return
    found = path.parent.glob(escape(path.name) + ".damaged-*")
    aside = sorted(one.name for one in found if not one.name.endswith(COMPANIONS))
    if aside:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} was found damaged and put aside as {aside[-1]!r}; it is not "
            f"made anew, because its messages would be lost silently. Restore a backup under the "
            f"old name, or move the damaged file out of this folder to begin with an empty one"
        )


def put(path: Path, lock: int, found: str) -> NoReturn:
    """Rename a damaged file, unless somebody else uses it, and refuse to start.

    Raises:
        ConfigurationError: always; it says where the file is now.
    """
    if not was_made(lock):
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is no queue file, or a damaged one ({found}); it was left as "
            f"it is. Name another file, or restore a backup"
        )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is damaged ({found}), and other processes use it; stop them "
            f"and start again, then it is put aside"
        ) from None
    target = _free_name(path)
    # The file first: from then on every start is refused, wherever this is interrupted.
    path.rename(target)
    for end in COMPANIONS:
        companion = path.with_name(path.name + end)
        if companion.exists():
            companion.rename(target.with_name(target.name + end))
    raise ConfigurationError(
        f"SQLite: {str(path)!r} is damaged ({found}); it was put aside as {target.name!r}. Restore "
        f"a backup under the old name, or recover it (sqlite3 FILE .recover). Nothing is started "
        f"on an empty file instead, because messages would be lost silently"
    )


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    return target
