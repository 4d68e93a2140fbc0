"""Which messages a receive takes: by time on a standard queue, by group on an ordered one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from mqtransport.brokers.sqlite import many, store
from mqtransport.brokers.sqlite.many import STORED, Stored
from mqtransport.brokers.sqlite.records import Receipt, Record, checksum, delivery, read_receipt
from mqtransport.brokers.sqlite.store import Now, QueueRow
from mqtransport.limits import REMEMBERED_S
from mqtransport.message import RawDelivery

_FORGET_MOST = 100
"""Old ids deleted at one go, so that no call pays for all of them."""


def take(
    db: sqlite3.Connection, queue: QueueRow, most: int, lease_s: float, now: Now
) -> tuple[list[RawDelivery], bool]:
    """Lease up to ``most`` messages of a standard queue, the one that is due longest first.

    True says that others were moved to the dead letter queue.
    """
    taken: list[RawDelivery] = []
    moved = False
    while len(taken) < most:
        rows = db.execute(
            f"SELECT {STORED} FROM messages WHERE queue = ? AND line IS NULL AND due <= ?"
            " ORDER BY due, seq LIMIT ?",
            (queue.id, now.monotonic, most - len(taken)),
        ).fetchall()
        if not rows:
            break
        fit = _fit(db, queue, rows, now)
        moved = moved or len(fit) < len(rows)
        taken += many.lease(db, queue, fit, lease_s, now)
    return taken, moved


def take_ordered(
    db: sqlite3.Connection,
    queue: QueueRow,
    most: int,
    lease_s: float,
    now: Now,
    attempt_id: str | None,
) -> tuple[list[RawDelivery], bool]:
    """Lease up to ``most`` messages, of the free groups whose first message came first.

    True says that others were moved to the dead letter queue.

    A group is free if none of its messages is hidden. The same attempt id within 5 minutes brings
    the same messages again, as long as nothing has been done to them.
    """
    if attempt_id is not None and (again := _repeated(db, queue, attempt_id, most, lease_s, now)):
        return again, False
    taken: list[RawDelivery] = []
    moved = False
    while len(taken) < most and (line := _free_line(db, queue, now)) is not None:
        rows = db.execute(
            f"SELECT {STORED} FROM messages WHERE queue = ? AND line = ? ORDER BY seq LIMIT ?",
            (queue.id, line, most - len(taken)),
        ).fetchall()
        fit = _fit(db, queue, rows, now)
        moved = moved or len(fit) < len(rows)
        taken += many.lease(db, queue, fit, lease_s, now)
    if attempt_id is not None and taken:
        _remember(db, queue, attempt_id, taken, lease_s, now)
    return taken, moved


def first_of(db: sqlite3.Connection, queue: QueueRow, dedup_id: str, now: Now) -> str | None:
    """Return the id of the message that was sent with this dedup id within 5 minutes."""
    row = db.execute(
        "SELECT id FROM dedup_ids WHERE queue = ? AND dedup_id = ? AND at > ?",
        (queue.id, dedup_id, now.monotonic - REMEMBERED_S),
    ).fetchone()
    return None if row is None else str(row[0])


def remember_sent(db: sqlite3.Connection, queue: QueueRow, record: Record, now: Now) -> None:
    """Remember a dedup id, and forget old ones."""
    _forget(db, "dedup_ids", "queue, dedup_id", now)
    db.execute(
        "INSERT OR REPLACE INTO dedup_ids VALUES (?, ?, ?, ?)",
        (queue.id, record.dedup_id, record.id, now.monotonic),
    )


def _fit(
    db: sqlite3.Connection, queue: QueueRow, rows: Sequence[Sequence[Any]], now: Now
) -> list[Stored]:
    """Return those that can be delivered; others were so too often, and go to the dead letters."""
    found = [Stored(*row) for row in rows]
    if queue.dead_letters is None:
        return found
    fit = []
    for one in found:
        if one.attempt < queue.max_receives:
            fit.append(one)
        else:
            store.move_to_dead_letters(db, queue, one.seq, now)
    return fit


def _free_line(db: sqlite3.Connection, queue: QueueRow, now: Now) -> str | None:
    row = db.execute(
        "SELECT line FROM lines WHERE queue = :queue AND :now >= (SELECT MAX(due) FROM messages"
        " WHERE queue = :queue AND line = lines.line) ORDER BY head LIMIT 1",
        {"queue": queue.id, "now": now.monotonic},
    ).fetchone()
    return None if row is None else str(row[0])


def _remember(
    db: sqlite3.Connection,
    queue: QueueRow,
    attempt_id: str,
    taken: list[RawDelivery],
    lease_s: float,
    now: Now,
) -> None:
    _forget(db, "attempts", "queue, attempt_id", now)
    receipts = json.dumps([one.receipt for one in taken])
    db.execute(
        "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?)",
        (queue.id, attempt_id, receipts, now.monotonic + lease_s, now.monotonic),
    )


def _repeated(
    db: sqlite3.Connection,
    queue: QueueRow,
    attempt_id: str,
    most: int,
    lease_s: float,
    now: Now,
) -> list[RawDelivery]:
    row = db.execute(
        "SELECT receipts, due FROM attempts WHERE queue = ? AND attempt_id = ? AND at > ?",
        (queue.id, attempt_id, now.monotonic - REMEMBERED_S),
    ).fetchone()
    if row is None:
        return []
    receipts = [one for text in json.loads(row[0]) if (one := read_receipt(text)) is not None]
    if len(receipts) > most:
        return []
    again = [_as_it_was(db, queue, receipt, row[1], now) for receipt in receipts]
    held = [one for one in again if one is not None]
    if len(held) < len(receipts):
        return []
    due = now.monotonic + lease_s
    for receipt in receipts:
        db.execute(
            "UPDATE messages SET due = ?, received = ? WHERE seq = ?",
            (due, now.monotonic, receipt.seq),
        )
    db.execute(
        "UPDATE attempts SET due = ? WHERE queue = ? AND attempt_id = ?",
        (due, queue.id, attempt_id),
    )
    return held


def _as_it_was(
    db: sqlite3.Connection, queue: QueueRow, receipt: Receipt, due: float, now: Now
) -> RawDelivery | None:
    """Return the delivery if its lease is the very one that the attempt was given."""
    row = db.execute(
        "SELECT grp, sent_at, first_at, checksum, attributes,"
        " CAST(COALESCE(body, (SELECT body FROM bodies WHERE bodies.seq = messages.seq)) AS BLOB)"
        " FROM messages WHERE seq = ? AND id = ? AND queue = ? AND leased AND attempt = ?"
        " AND due = ? AND due > ?",
        (receipt.seq, receipt.id, queue.id, receipt.attempt, due, now.monotonic),
    ).fetchone()
    if row is None:
        return None
    group, sent_at, first_at, sum_, attributes, body = row
    if body is None or checksum(receipt.id, group, attributes, body) != sum_:
        return None
    return delivery(
        receipt,
        body=body.decode("utf-8", "replace"),
        attributes=attributes,
        group=group,
        sent_at=sent_at,
        first_at=first_at,
    )


def _forget(db: sqlite3.Connection, table: str, key: str, now: Now) -> None:
    db.execute(
        f"DELETE FROM {table} WHERE ({key}) IN"
        f" (SELECT {key} FROM {table} WHERE at <= ? ORDER BY at LIMIT {_FORGET_MOST})",
        (now.monotonic - REMEMBERED_S,),
    )
