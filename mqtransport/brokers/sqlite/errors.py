"""The one table that turns what SQLite and the file system raise into our errors."""

from __future__ import annotations

import sqlite3

from mqtransport.errors import AccessDeniedError, BrokerError, BrokerUnavailableError

_FOUND = {
    "SQLITE_BUSY": "another process has held the file locked for too long",
    "SQLITE_LOCKED": "another process has held the file locked for too long",
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_IOERR": "the disk failed; nothing is confirmed that it has not taken",
    "SQLITE_CORRUPT": "the file is damaged; stop all processes and start again: it is put aside",
    "SQLITE_NOTADB": "the file is damaged; stop all processes and start again: it is put aside",
    "SQLITE_CANTOPEN": "the file cannot be opened; check the path and its rights",
}
_DENIED = {
    "SQLITE_READONLY": "the file cannot be written; check its rights and the disk",
    "SQLITE_PERM": "the file cannot be used; check its rights",
    "SQLITE_AUTH": "the file cannot be used; check its rights",
}


def translated(verb: str, queue: str, error: Exception) -> BrokerError:
    """Return our error for what SQLite or the file system raised; all are made here."""
    name = getattr(error, "sqlite_errorname", None) or ""
    base = "_".join(name.split("_")[:2])  # SQLITE_IOERR_FSYNC and others like it
    about = f"SQLite: cannot {verb} {queue!r}: "
    if isinstance(error, PermissionError) or base in _DENIED:
        why = _DENIED.get(base, "the file cannot be used; check its rights and its folder's")
        return AccessDeniedError(about + why, queue=queue)
    found = _FOUND.get(base, f"it failed ({name or type(error).__name__})")
    # What a commit did that failed on the disk is not known.
    unsure = isinstance(error, sqlite3.Error) and base not in ("SQLITE_BUSY", "SQLITE_FULL")
    return BrokerUnavailableError(about + found, queue=queue, maybe_done=unsure)
