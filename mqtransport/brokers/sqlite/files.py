"""Opening a queue file: what is refused, what is put aside, what is set. Runs on the worker."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mqtransport.brokers.sqlite import schema
from mqtransport.brokers.sqlite.store import Now
from mqtransport.errors import ConfigurationError

_log = logging.getLogger("mqtransport.brokers.sqlite")

Synchronous = Literal["FULL", "NORMAL"]

RESERVE_BYTES = 4 * 1024 * 1024
"""Kept beside the queue file, and given up when the disk is full, so that acks still work."""

_ZEROS = bytes(64 * 1024)

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph"})


@dataclass(slots=True)
class QueueFile:
    """An open queue file.

    Attributes:
        path: where it is.
        db: the connection; in autocommit mode, transactions are begun by hand.
        lock: an open file descriptor that shares the lock of all users of the file.
    """

    path: Path
    db: sqlite3.Connection
    lock: int

    def close(self) -> None:
        """Close the connection and give up the lock."""
        try:
            self.db.close()
        finally:
            os.close(self.lock)


def open_file(
    path: Path, *, synchronous: Synchronous, timeout_s: float, boot_id: str, now: Now
) -> QueueFile:
    """Open a queue file, made if it is not there; checks it whole.

    Raises:
        ConfigurationError: the path cannot be used, or the file is damaged, newer or foreign.
        sqlite3.Error: the file is locked for longer than ``timeout_s``, or the disk fails.
    """
    _check_path(path)
    _warn_of_network(path)
    lock = _share_lock(path)
    try:
        _make_private(path)
        db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, cached_statements=256)
        try:
            _prepare(db, path, lock, synchronous, timeout_s)
            _bring_forward(db, path, boot_id, now)
        except BaseException:
            db.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    keep_reserve(path)
    return QueueFile(path, db, lock)


def keep_reserve(path: Path) -> bool:
    """Make the reserve if it is not there; return whether it is now."""
    reserve = reserve_of(path)
    try:
        if reserve.stat().st_size == RESERVE_BYTES:
            return True
    except OSError:
        pass
    try:
        handle = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            for _ in range(RESERVE_BYTES // len(_ZEROS)):
                if os.write(handle, _ZEROS) != len(_ZEROS):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)
    except OSError:
        reserve.unlink(missing_ok=True)
        return False
    return True


def give_up_reserve(path: Path) -> bool:
    """Free the reserve's bytes; return whether there were any."""
    try:
        reserve_of(path).unlink()
    except OSError:
        return False
    return True


def reserve_of(path: Path) -> Path:
    """Return the path of the reserve."""
    return path.with_name(path.name + "-reserve")


def this_boot() -> str:
    """Return what names this boot of the machine; "" where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _check_path(path: Path) -> None:
    parent = path.parent
    if not parent.is_dir():
        raise ConfigurationError(f"SQLite: the folder {str(parent)!r} does not exist; create it")
    for one in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-lock"))):
        if one.is_symlink():
            raise ConfigurationError(
                f"SQLite: {str(one)!r} is a symbolic link; name the file itself, since a link can "
                f"be pointed elsewhere under our hands"
            )
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"SQLite: {str(path)!r} is no file")
    if not path.exists() and (aside := sorted(parent.glob(path.name + ".damaged-*"))):
        raise ConfigurationError(
            f"SQLite: {str(path)!r} was found damaged and put aside as {aside[-1].name!r}; it is "
            f"not made anew, because its messages would be lost silently. Restore a backup under "
            f"the old name, or move the damaged file out of this folder to begin with an empty one"
        )


def _warn_of_network(path: Path) -> None:
    kind = _file_system(path.parent.resolve())
    if kind in _NETWORK:
        _log.warning(
            "SQLite: %r lies on a network file system (%s), whose locks cannot be relied on; "
            "messages may be lost or delivered twice. Use a local disk.",
            path.name,
            kind,
        )


def _file_system(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return ""
    found, kind = Path(), ""
    for line in lines:
        fields = line.split(" ")
        point = Path(fields[1].replace("\\040", " "))
        if folder.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, fields[2]
    return kind


def _share_lock(path: Path) -> int:
    """Lock the file beside the queue file, shared: who holds it alone may move the file away."""
    lock = os.open(
        path.with_name(path.name + "-lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is being put aside by another process because it is damaged"
        ) from None
    return lock


def _make_private(path: Path) -> None:
    """Make the file with mode 0600, or take the rights of others away from one that has them."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o077:
            _log.warning(
                "SQLite: %r could be read by others (mode %o); it is 0600 now", path.name, mode
            )
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _prepare(
    db: sqlite3.Connection, path: Path, lock: int, synchronous: Synchronous, timeout_s: float
) -> None:
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        _write_ahead(db, timeout_s)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname not in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise
        found = error.sqlite_errorname
    if found != "ok":
        db.close()
        _put_aside(path, lock, str(found))
    db.execute(f"PRAGMA synchronous = {synchronous}")


def _write_ahead(db: sqlite3.Connection, timeout_s: float) -> None:
    """Switch to a write-ahead log; two processes that do so at once get in each other's way."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() >= until:
                raise
            time.sleep(0.01)  # SQLite does not wait for this lock by itself
            continue
        if mode != "wal":
            raise ConfigurationError(
                "SQLite: the file system has no shared memory for a write-ahead log; use a local "
                "disk"
            )
        return


def _bring_forward(db: sqlite3.Connection, path: Path, boot_id: str, now: Now) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        schema.migrate(db)
        schema.rebase(db, boot_id=boot_id, now=now.monotonic, wall=now.wall)
        db.execute("COMMIT")
    except schema.NewerFileError as newer:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} was written by a newer mqtransport ({newer}); update this one"
        ) from None
    except schema.ForeignFileError:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is a database of another program; name another file"
        ) from None
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _put_aside(path: Path, lock: int, found: str) -> None:
    """Rename a damaged file, unless somebody else uses it, and refuse to start.

    Raises:
        ConfigurationError: always; it says where the file is now.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is damaged ({found}), and other processes use it; stop them "
            f"and start again, then it is put aside"
        ) from None
    target = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
    for end in ("-wal", "-shm"):
        companion = path.with_name(path.name + end)
        if companion.exists():
            companion.rename(target.with_name(target.name + end))
    path.rename(target)
    raise ConfigurationError(
        f"SQLite: {str(path)!r} is damaged ({found}); it was put aside as {target.name!r}. Restore "
        f"a backup under the old name, or recover it (sqlite3 FILE .recover). Nothing is started "
        f"on an empty file instead, because messages would be lost silently"
    )
