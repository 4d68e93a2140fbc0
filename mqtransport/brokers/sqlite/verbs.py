"""The verbs of the seam as work for the thread of the file: each a function of the connection.

Time is read when the work is done, so that a lease begins when it is given and not when it was
asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers._checks import Checks
from mqtransport.brokers.sqlite import many, schema, store, taking
from mqtransport.brokers.sqlite.jobs import Work
from mqtransport.brokers.sqlite.records import Record, read_receipt
from mqtransport.brokers.sqlite.store import Now, QueueRow
from mqtransport.errors import BrokerError
from mqtransport.message import RawDelivery

_T = TypeVar("_T")


class Taken(NamedTuple):
    """What a receive took; if nothing, when the next hidden message comes back.

    ``moved``: whether it moved messages to the dead letter queue, where others may wait for them.
    """

    deliveries: list[RawDelivery]
    due: float | None
    moved: bool


Put = tuple[str, list[Record | BrokerError]]
Delete = tuple[str, Sequence[str]]
"""What a call is about: the queue, and the messages or the receipts."""

CHECKS = Checks("SQLite")


class Verbs:
    """Makes the work of each verb.

    Args:
        now: reads both clocks; called on the thread of the file.
        max_bytes: size limit of queues that come into being.
    """

    def __init__(self, now: Callable[[], Now], max_bytes: int) -> None:
        self._now = now
        self._max_bytes = max_bytes

    def note_clocks(self, db: sqlite3.Connection) -> None:
        """Note both clocks in the file now and then; see :func:`schema.rebase`."""
        now = self._now()
        schema.note_clocks(db, now=now.monotonic, wall=now.wall)

    def declare(self, queue: str, options: QueueOptions) -> Work[None]:
        """Make a queue exist."""
        return lambda db: store.declare(db, queue, options, self._max_bytes)

    def limit(self, queue: str, max_bytes: int) -> Work[None]:
        """Set a queue's size limit."""
        return lambda db: store.limit(db, self._row(db, queue), max_bytes)

    def describe(self, queue: str) -> Work[QueueInfo]:
        """Return a queue's limits and counts."""
        return lambda db: store.describe(db, self._row(db, queue), self._now())

    def put(self, db: sqlite3.Connection, calls: list[Put]) -> list[list[str | BrokerError]]:
        """Store messages; those that are errors already keep their place."""
        now = self._now()
        rows = self._rows(db, calls)
        plain: dict[str, list[Record]] = {queue: [] for queue in rows}

        def put_one(row: QueueRow, record: Record | BrokerError) -> str | BrokerError:
            if isinstance(record, BrokerError):
                return record
            many.put(db, row, plain[row.name], now)  # these came before this one
            plain[row.name].clear()
            return self._put(db, row, record, now)

        answers = []
        for queue, records in calls:
            row = rows[queue]
            most_bytes = many.plain_bytes(row)
            waiting = plain[queue]
            answer: list[str | BrokerError] = []
            for one in records:
                if isinstance(one, Record) and one.size_bytes <= most_bytes:
                    waiting.append(one)
                    answer.append(one.id)
                else:
                    answer.append(put_one(row, one))
            answers.append(answer)
        for queue, waits in plain.items():
            many.put(db, rows[queue], waits, now)
        return answers

    def take(self, queue: str, most: int, lease_s: float, attempt_id: str | None) -> Work[Taken]:
        """Lease up to ``most`` messages."""

        def work(db: sqlite3.Connection) -> Taken:
            row, now = self._row(db, queue), self._now()
            if row.ordered:
                taken, moved = taking.take_ordered(db, row, most, lease_s, now, attempt_id)
            else:
                taken, moved = taking.take(db, row, most, lease_s, now)
            return Taken(taken, None if taken else store.next_due(db, row, now), moved)

        return work

    def give_up(self, queue: str, taken: Sequence[RawDelivery]) -> Work[None]:
        """Undo deliveries that nobody has seen."""

        def work(db: sqlite3.Connection) -> None:
            row, now = self._row(db, queue), self._now()
            for one in taken:
                if (receipt := read_receipt(one.receipt)) is not None:
                    store.give_up_receive(db, row, receipt, now)

        return work

    def delete(self, db: sqlite3.Connection, calls: list[Delete]) -> list[list[BrokerError | None]]:
        """Delete deliveries."""
        rows = self._rows(db, calls)
        receipts = [
            (rows[queue], read_receipt(text)) for queue, receipts in calls for text in receipts
        ]
        deleted = iter(many.delete(db, receipts, self._now()))
        return [
            [None if next(deleted) else CHECKS.stale("ack", queue) for _ in receipts]
            for queue, receipts in calls
        ]

    def set_end(
        self, verb: str, queue: str, receipts: Sequence[str], seconds: float, *, leased: bool
    ) -> Work[list[BrokerError | None]]:
        """Let deliveries' messages come back ``seconds`` from now."""

        def change(
            db: sqlite3.Connection, row: QueueRow, text: str, now: Now
        ) -> BrokerError | None:
            receipt = read_receipt(text)
            if receipt is None or not store.is_held(db, row, receipt, now):
                return CHECKS.stale(verb, queue)
            if not store.set_end(db, receipt, seconds, now, leased=leased):
                return CHECKS.refused(verb, queue, "the lease would be longer than 12 hours")
            return None

        def work(db: sqlite3.Connection) -> list[BrokerError | None]:
            row, now = self._row(db, queue), self._now()
            return [change(db, row, text, now) for text in receipts]

        return work

    def _put(
        self, db: sqlite3.Connection, row: QueueRow, record: Record, now: Now
    ) -> str | BrokerError:
        if record.size_bytes > row.max_bytes:
            return _too_large(row, record)
        if row.ordered:
            if first := taking.first_of(db, row, record.dedup_id, now):
                return first
            taking.remember_sent(db, row, record, now)
        store.put(db, row, record, now)
        return record.id

    def _rows(self, db: sqlite3.Connection, calls: list[tuple[str, _T]]) -> dict[str, QueueRow]:
        return {queue: self._row(db, queue) for queue in dict.fromkeys(queue for queue, _ in calls)}

    def _row(self, db: sqlite3.Connection, queue: str) -> QueueRow:
        return store.queue_row(db, queue, self._max_bytes)


def _too_large(row: QueueRow, record: Record) -> BrokerError:
    why = f"it has {record.size_bytes} bytes with its attributes; the limit is {row.max_bytes}"
    return CHECKS.refused("send", row.name, why)
