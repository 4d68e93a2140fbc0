"""Opening a queue file: what is refused, what is put aside, what is set. Runs on the worker."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mqtransport.brokers.sqlite import aside, reserve, schema, write_ahead
from mqtransport.brokers.sqlite.store import Now
from mqtransport.errors import ConfigurationError

_log = logging.getLogger("mqtransport.brokers.sqlite")

Synchronous = Literal["FULL", "NORMAL"]

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph"})

_MOUNTS = Path("/proc/mounts")


@dataclass(slots=True)
class QueueFile:
    """An open queue file.

    Attributes:
        path: where it is.
        db: the connection; in autocommit mode, transactions are begun by hand.
        lock: an open file descriptor that shares the lock of all users of the file.
        inode: what the path named when it was opened.
    """

    path: Path
    db: sqlite3.Connection
    lock: int
    inode: tuple[int, int]

    def is_in_place(self) -> bool:
        """Return whether the path still names this file; what is written to another is lost."""
        try:
            return _inode(self.path) == self.inode
        except OSError:
            return False

    def close(self) -> None:
        """Close the connection and give up the lock."""
        try:
            self.db.close()
        finally:
            os.close(self.lock)


def open_file(
    path: Path, *, synchronous: Synchronous, timeout_s: float, boot_id: str, now: Callable[[], Now]
) -> QueueFile:
    """Open a queue file, made if it is not there; checks it whole.

    Raises:
        ConfigurationError: the path cannot be used, or the file is damaged, newer or foreign.
        sqlite3.Error: the file is locked for longer than ``timeout_s``, or the disk fails.
    """
    _check_path(path)
    warn_of_network(path)
    try:
        file = _open(path, synchronous, timeout_s, boot_id, now)
    except sqlite3.Error:
        # SQLite has many names for a full disk that has no room for its log.
        if not (reserve.is_disk_full(path) and reserve.give_up(path)):
            raise
        file = _open(path, synchronous, timeout_s, boot_id, now)
    reserve.keep(path)
    return file


def _open(
    path: Path, synchronous: Synchronous, timeout_s: float, boot_id: str, now: Callable[[], Now]
) -> QueueFile:
    lock = _share_lock(path)
    try:
        _make(path)
        log = write_ahead.read(path)
        db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, cached_statements=256)
        try:
            db.text_factory = _text
            _check_whole(db, path, lock)
            write_ahead.report_loss(db, path, log)
            _make_private(path)
            _write_ahead(db, timeout_s)
            db.execute(f"PRAGMA synchronous = {synchronous}")
            _bring_forward(db, boot_id, now)
            aside.mark_made(lock)
            inode = _inode(path)
        except BaseException:
            db.close()
            raise
    except BaseException:
        os.close(lock)
        raise
    return QueueFile(path, db, lock, inode)


def _inode(path: Path) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


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
    for one in _with_companions(path):
        if one.is_symlink():
            raise ConfigurationError(
                f"SQLite: {str(one)!r} is a symbolic link; name the file itself, since a link can "
                f"be pointed elsewhere under our hands"
            )
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"SQLite: {str(path)!r} is no file")
    aside.check(path)


def _with_companions(path: Path) -> list[Path]:
    ends = ("", *aside.COMPANIONS, "-lock", "-reserve")
    return [path.with_name(path.name + end) for end in ends]


def warn_of_network(path: Path, mounts: Path = _MOUNTS) -> None:
    """Log a warning if the file lies on a network file system."""
    kind = file_system(path.parent.resolve(), mounts)
    if kind in _NETWORK:
        _log.warning(
            "SQLite: %r lies on a network file system (%s), whose locks cannot be relied on; "
            "messages may be lost or delivered twice. Use a local disk.",
            path.name,
            kind,
        )


def file_system(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of file system a folder lies on; "" where the system does not say."""
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


def _make(path: Path) -> None:
    """Make an empty file with mode 0600 if there is none.

    No descriptor of a queue file is ever opened here: to close it would take from this process
    all locks that its connections hold on the file, and another process could then delete the
    write-ahead log they still write to (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    if path.exists():
        return
    handle, name = tempfile.mkstemp(prefix=path.name + "-new-", dir=path.parent)
    os.close(handle)
    try:
        with suppress(FileExistsError):  # another process was faster
            os.link(name, path)
    finally:
        os.unlink(name)


def _make_private(path: Path) -> None:
    """Take the rights of others away, from what SQLite has put beside the file, too."""
    for one in _with_companions(path):
        try:
            mode = stat.S_IMODE(one.lstat().st_mode)
        except FileNotFoundError:
            continue
        if mode & 0o077:
            one.chmod(0o600)
            if one == path:
                _log.warning(
                    "SQLite: %r could be used by others (mode %o); it is 0600 now", path.name, mode
                )


def _check_whole(db: sqlite3.Connection, path: Path, lock: int) -> None:
    """Check what file it is, and then all of it; put it aside if it is damaged.

    Not ``quick_check``, which does not see that an index has lost a message; such a message
    would never be delivered. It takes about as long.
    """
    try:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("BEGIN")  # one look: else a process that makes it now shows in parts of it
        try:
            schema.check(db)
        finally:
            db.execute("ROLLBACK")
        empty = path.stat().st_size == 0 and aside.was_made(lock)
        found = "empty" if empty else db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except schema.NewerFileError as newer:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} was written by a newer mqtransport ({newer}); update this one"
        ) from None
    except schema.ForeignFileError:
        raise ConfigurationError(
            f"SQLite: {str(path)!r} is a database of another program; name another file"
        ) from None
    except UnicodeDecodeError:  # from a message of SQLite's that quotes a damaged table's name
        found = "SQLITE_CORRUPT"
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorname.split("_")[1] not in ("CORRUPT", "NOTADB"):
            raise
        found = error.sqlite_errorname
    if found != "ok":
        aside.put(path, lock, str(found))


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


def _bring_forward(db: sqlite3.Connection, boot_id: str, now: Callable[[], Now]) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        schema.migrate(db)
        # Read only now: what others noted while this one opened the file is not of a later boot.
        time_now = now()
        schema.rebase(db, boot_id=boot_id, now=time_now.monotonic, wall=time_now.wall)
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _text(stored: bytes) -> str:
    """Read text; damage must not make it unreadable, since the checksum tells of it."""
    return stored.decode("utf-8", "replace")
