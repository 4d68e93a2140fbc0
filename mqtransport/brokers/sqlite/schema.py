"""The tables of a SQLite queue file, their version, and how an older one is brought forward.

Times in the file are those of the machine's monotonic clock, which all processes of one boot
share: a wall clock that jumps neither hides nor shows a message. After a reboot, when that clock
starts anew, :func:`rebase` carries what still counts over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x4D515431
"""Marks a file as one of ours ("MQT1"), so that no other program's database is taken for one."""

_FIRST = """
CREATE TABLE queues (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    lease_s REAL NOT NULL,
    max_bytes INTEGER NOT NULL,
    max_receives INTEGER NOT NULL,
    dead_letters INTEGER
) STRICT;

-- due: when it can be delivered; of a leased one, when its lease ends. line: the group on an
-- ordered queue, else NULL. body: NULL if it is large; then it lies in bodies, so that a lease
-- does not write it again.
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    id TEXT NOT NULL,
    line TEXT,
    due REAL NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    sent_at REAL NOT NULL,
    first_at REAL,
    received REAL,
    grp TEXT,
    checksum INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body TEXT
) STRICT;
CREATE INDEX messages_due ON messages (queue, due, seq) WHERE line IS NULL;
CREATE INDEX messages_line ON messages (queue, line, seq) WHERE line IS NOT NULL;
CREATE INDEX messages_line_due ON messages (queue, line, due) WHERE line IS NOT NULL;
CREATE INDEX messages_line_hidden ON messages (queue, due) WHERE line IS NOT NULL AND due > 0;

CREATE TABLE bodies (seq INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;

-- The groups of ordered queues that have messages, by their first message.
CREATE TABLE lines (
    queue INTEGER NOT NULL,
    line TEXT NOT NULL,
    head INTEGER NOT NULL,
    PRIMARY KEY (queue, line)
) STRICT, WITHOUT ROWID;
CREATE INDEX lines_head ON lines (queue, head);

CREATE TABLE dedup_ids (
    queue INTEGER NOT NULL,
    dedup_id TEXT NOT NULL,
    id TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (queue, dedup_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedup_ids_at ON dedup_ids (at);

CREATE TABLE attempts (
    queue INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    receipts TEXT NOT NULL,
    due REAL NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (queue, attempt_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_at ON attempts (at);

-- Messages whose checksum does not match: never delivered, never dropped. Not keyed by seq,
-- which another message gets once this one has left its table.
CREATE TABLE damaged (
    seq INTEGER NOT NULL,
    queue INTEGER NOT NULL,
    id TEXT NOT NULL,
    found_at REAL NOT NULL,
    checksum INTEGER NOT NULL,
    grp TEXT,
    attributes TEXT,
    body TEXT
) STRICT;

-- The boot in which the times of this file were written, and what both clocks said.
CREATE TABLE boot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot_id TEXT NOT NULL,
    monotonic REAL NOT NULL,
    wall REAL NOT NULL
) STRICT;
"""

MIGRATIONS: Sequence[str] = (_FIRST,)
"""Statements that lead from each version to the next; the file's version counts them."""

VERSION = len(MIGRATIONS)

NOTE_CLOCKS_EVERY_S = 60.0
"""What a delay can be stretched by at a reboot, if the wall clock went back since."""


class NewerFileError(Exception):
    """The file was written by a newer version of this library."""


class ForeignFileError(Exception):
    """The file is a SQLite database of some other program."""


def check(db: sqlite3.Connection, version: int = VERSION) -> None:
    """Check that this library can use the file.

    Args:
        db: the file; it is only read.
        version: the newest that is known.

    Raises:
        NewerFileError: it has a newer version.
        ForeignFileError: it holds tables, but not ours.
    """
    found = _version(db)
    (found_id,) = db.execute("PRAGMA application_id").fetchone()
    if found_id != APPLICATION_ID and (found or _has_tables(db)):
        raise ForeignFileError()
    if found > version:
        raise NewerFileError(f"version {found}; this library knows {version}")


def migrate(db: sqlite3.Connection, steps: Sequence[str] = MIGRATIONS) -> None:
    """Bring the file to the version that these steps lead to, inside the caller's transaction.

    Raises:
        NewerFileError, ForeignFileError: see :func:`check`.
    """
    check(db, len(steps))
    version = _version(db)
    if version == len(steps):
        return
    for step in steps[version:]:
        # Not executescript: it would commit the transaction first.
        for statement in _statements(step):
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {len(steps)}")


def rebase(db: sqlite3.Connection, *, boot_id: str, now: float, wall: float) -> None:
    """Carry times over from an earlier boot, inside the caller's transaction.

    The processes of that boot are gone, so their leases have ended. A delay goes on for what the
    wall clock says is left of it. If that clock went back, it goes on for what was left when
    both clocks were noted last (:func:`note_clocks`).
    """
    row = db.execute("SELECT boot_id, monotonic, wall FROM boot").fetchone()
    if row is None:
        db.execute("INSERT INTO boot VALUES (1, ?, ?, ?)", (boot_id, now, wall))
        return
    old_id, then, wall_then = row
    if old_id == boot_id and now >= then:
        return
    passed_s = max(wall - wall_then, 0.0)
    db.execute(
        "UPDATE messages SET leased = 0, due ="
        " CASE WHEN leased OR due <= :ended THEN 0 ELSE :now + due - :ended END",
        {"now": now, "ended": then + passed_s},
    )
    db.execute("DELETE FROM dedup_ids")
    db.execute("DELETE FROM attempts")
    db.execute("UPDATE boot SET boot_id = ?, monotonic = ?, wall = ?", (boot_id, now, wall))


def note_clocks(db: sqlite3.Connection, *, now: float, wall: float) -> None:
    """Note both clocks for :func:`rebase`, if the last time is a minute ago."""
    db.execute(
        "UPDATE boot SET monotonic = ?, wall = ? WHERE monotonic <= ?",
        (now, wall, now - NOTE_CLOCKS_EVERY_S),
    )


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _statements(script: str) -> list[str]:
    found, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found
