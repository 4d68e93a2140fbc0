"""What the verbs do to the tables: plain functions on a connection, inside a transaction.

Nothing here waits or commits; :mod:`mqtransport.brokers.sqlite.worker` does. All times are
monotonic seconds but for the stamps that leave the process (``wall``).
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from mqtransport import limits
from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers.sqlite.records import Receipt, Record

_log = logging.getLogger("mqtransport.brokers.sqlite")


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks."""

    monotonic: float
    wall: float


@dataclass(frozen=True, slots=True)
class QueueRow:
    """A queue as it stands in the file."""

    id: int
    name: str
    lease_s: float
    max_bytes: int
    max_receives: int
    dead_letters: int | None

    @property
    def ordered(self) -> bool:
        """Whether it is an ordered queue."""
        return limits.is_fifo(self.name)


def queue_row(db: sqlite3.Connection, name: str, max_bytes: int) -> QueueRow:
    """Return a queue, made with the defaults if it is not there yet."""
    found = _find(db, name)
    if found is None:
        defaults = QueueOptions()
        db.execute(
            "INSERT INTO queues (name, lease_s, max_bytes, max_receives) VALUES (?, ?, ?, ?)",
            (name, defaults.lease_s, max_bytes, defaults.max_receive_count),
        )
        found = _find(db, name)
    if found is None:
        raise sqlite3.DatabaseError(f"the queue {name!r} was stored and is not there")
    return found


def declare(db: sqlite3.Connection, name: str, options: QueueOptions, max_bytes: int) -> None:
    """Make a queue exist; one that does gets a dead letter policy if it has none."""
    known = _find(db, name) is not None
    queue = queue_row(db, name, max_bytes)
    if not known:
        db.execute("UPDATE queues SET lease_s = ? WHERE id = ?", (options.lease_s, queue.id))
    if options.dead_letter_queue is not None and queue.dead_letters is None:
        dead = queue_row(db, options.dead_letter_queue, max_bytes)
        db.execute(
            "UPDATE queues SET dead_letters = ?, max_receives = ? WHERE id = ?",
            (dead.id, options.max_receive_count, queue.id),
        )


def limit(db: sqlite3.Connection, queue: QueueRow, max_bytes: int) -> None:
    """Set the size limit of a queue."""
    db.execute("UPDATE queues SET max_bytes = ? WHERE id = ?", (max_bytes, queue.id))


def describe(db: sqlite3.Connection, queue: QueueRow, now: Now) -> QueueInfo:
    """Return the queue's limits and counts."""
    ready, leased, delayed = db.execute(
        "SELECT COUNT(*) FILTER (WHERE due <= :now),"
        " COUNT(*) FILTER (WHERE due > :now AND leased),"
        " COUNT(*) FILTER (WHERE due > :now AND NOT leased)"
        " FROM messages WHERE queue = :queue",
        {"now": now.monotonic, "queue": queue.id},
    ).fetchone()
    dead = None
    if queue.dead_letters is not None:
        (dead,) = db.execute(
            "SELECT name FROM queues WHERE id = ?", (queue.dead_letters,)
        ).fetchone()
    return QueueInfo(
        max_message_bytes=queue.max_bytes,
        depth=ready,
        in_flight=leased,
        delayed=delayed,
        lease_s=queue.lease_s,
        max_receive_count=queue.max_receives if dead is not None else None,
        dead_letter_queue=dead,
        fifo=queue.ordered,
        delay_s=0.0,
    )


def put(db: sqlite3.Connection, queue: QueueRow, record: Record, now: Now) -> None:
    """Store one message at the end of the queue."""
    line = record.group if queue.ordered else None
    # A line's messages keep the order of their numbers, so theirs need no time to sort by.
    due = 0.0 if line is not None else now.monotonic + record.delay_s
    cursor = db.execute(
        "INSERT INTO messages (queue, id, line, due, sent_at, grp, checksum, attributes, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            queue.id,
            record.id,
            line,
            due,
            now.wall,
            record.group,
            record.checksum,
            record.attributes,
            record.body if record.inline else None,
        ),
    )
    if not record.inline:
        db.execute("INSERT INTO bodies VALUES (?, ?)", (cursor.lastrowid, record.body))
    if line is not None:
        db.execute(
            "INSERT INTO lines VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (queue.id, line, cursor.lastrowid),
        )


def is_held(db: sqlite3.Connection, queue: QueueRow, receipt: Receipt, now: Now) -> bool:
    """Return whether the delivery is in hand: leased, the latest of its message, of this queue."""
    return _held(db, queue, receipt, now) is not None


def put_aside(db: sqlite3.Connection, queue: QueueRow, seq: int, id_: str, now: Now) -> None:
    """Take a damaged message out of the queue; it is kept in the table of damaged ones."""
    _log.error(
        "queue %r: message %r is damaged on disk and was put aside (table damaged, number %d); "
        "restore it from a backup",
        queue.name,
        id_,
        seq,
    )
    db.execute(
        "INSERT INTO damaged SELECT seq, queue, id, ?, checksum, grp, attributes,"
        " COALESCE(body, (SELECT body FROM bodies WHERE bodies.seq = messages.seq))"
        " FROM messages WHERE seq = ?",
        (now.wall, seq),
    )
    (line,) = db.execute("SELECT line FROM messages WHERE seq = ?", (seq,)).fetchone()
    drop(db, queue, seq, line)


def drop(db: sqlite3.Connection, queue: QueueRow, seq: int, line: str | None) -> None:
    """Delete a message, and see to its line."""
    db.execute("DELETE FROM messages WHERE seq = ?", (seq,))
    db.execute("DELETE FROM bodies WHERE seq = ?", (seq,))
    if line is not None:
        review_line(db, queue.id, line)


def set_end(
    db: sqlite3.Connection, receipt: Receipt, seconds: float, now: Now, *, leased: bool
) -> bool:
    """Let the message of a delivery in hand come back ``seconds`` from now.

    Returns:
        False, and nothing is changed, if that is more than 12 hours after the receive (AWS,
        ChangeMessageVisibility).
    """
    line, received = db.execute(
        "SELECT line, received FROM messages WHERE seq = ?", (receipt.seq,)
    ).fetchone()
    if now.monotonic + seconds - received > limits.MAX_LEASE_S:
        return False
    ready = not leased and seconds == 0 and line is not None
    db.execute(
        "UPDATE messages SET leased = ?, due = ? WHERE seq = ?",
        (int(leased), 0.0 if ready else now.monotonic + seconds, receipt.seq),
    )
    return True


def give_up_receive(db: sqlite3.Connection, queue: QueueRow, receipt: Receipt, now: Now) -> None:
    """Undo a delivery that nobody has seen: it does not count."""
    if (held := _held(db, queue, receipt, now)) is not None:
        db.execute(
            "UPDATE messages SET leased = 0, due = ?, attempt = attempt - 1,"
            " first_at = CASE WHEN attempt = 1 THEN NULL ELSE first_at END WHERE seq = ?",
            (0.0 if held.line is not None else now.monotonic, receipt.seq),
        )


def move_to_dead_letters(db: sqlite3.Connection, queue: QueueRow, seq: int, now: Now) -> None:
    """Move a message that was delivered too often; its count starts anew there."""
    (line,) = db.execute("SELECT line FROM messages WHERE seq = ?", (seq,)).fetchone()
    due = 0.0 if line is not None else now.monotonic
    db.execute(
        "UPDATE messages SET queue = ?, attempt = 0, first_at = NULL, leased = 0, due = ?"
        " WHERE seq = ?",
        (queue.dead_letters, due, seq),
    )
    if line is not None and queue.dead_letters is not None:
        review_line(db, queue.id, line)
        review_line(db, queue.dead_letters, line)


def review_line(db: sqlite3.Connection, queue_id: int, line: str) -> None:
    """Note which message a group begins with; forget the group when it has none."""
    (head,) = db.execute(
        "SELECT MIN(seq) FROM messages WHERE queue = ? AND line = ?", (queue_id, line)
    ).fetchone()
    if head is None:
        db.execute("DELETE FROM lines WHERE queue = ? AND line = ?", (queue_id, line))
    else:
        db.execute(
            "INSERT INTO lines VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET head = excluded.head",
            (queue_id, line, head),
        )


def next_due(db: sqlite3.Connection, queue: QueueRow, now: Now) -> float | None:
    """Return when the next hidden message of the queue comes back; None if none does."""
    where = "line IS NOT NULL AND due > 0" if queue.ordered else "line IS NULL"
    (due,) = db.execute(
        f"SELECT MIN(due) FROM messages WHERE queue = ? AND due > ? AND {where}",
        (queue.id, now.monotonic),
    ).fetchone()
    return None if due is None else float(due)


def _find(db: sqlite3.Connection, name: str) -> QueueRow | None:
    row = db.execute(
        "SELECT id, name, lease_s, max_bytes, max_receives, dead_letters"
        " FROM queues WHERE name = ?",
        (name,),
    ).fetchone()
    return None if row is None else QueueRow(*row)


class _Held(NamedTuple):
    line: str | None


def _held(db: sqlite3.Connection, queue: QueueRow, receipt: Receipt, now: Now) -> _Held | None:
    row = db.execute(
        "SELECT line FROM messages WHERE seq = ? AND id = ? AND queue = ? AND leased"
        " AND attempt = ? AND due > ?",
        (receipt.seq, receipt.id, queue.id, receipt.attempt, now.monotonic),
    ).fetchone()
    return None if row is None else _Held(*row)
