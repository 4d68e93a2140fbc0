"""The SQLite driver: SQS's semantics in one file, durable, shared by the processes of a machine."""

from __future__ import annotations

import asyncio
import logging
import os
import random as random_module
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

from mqtransport import limits
from mqtransport.broker import DEFAULT_TIMEOUT_S, Broker, Capabilities, QueueInfo, QueueOptions
from mqtransport.brokers._waiters import Waiters
from mqtransport.brokers.sqlite import files
from mqtransport.brokers.sqlite.errors import translated
from mqtransport.brokers.sqlite.files import Synchronous
from mqtransport.brokers.sqlite.jobs import Job, each
from mqtransport.brokers.sqlite.records import Record, record_of
from mqtransport.brokers.sqlite.store import Now
from mqtransport.brokers.sqlite.verbs import CHECKS, Taken, Verbs
from mqtransport.brokers.sqlite.worker import Worker
from mqtransport.clock import Clock, SystemClock, new_id, new_random
from mqtransport.errors import BrokerError, BrokerUnavailableError, ClosedError, ConfigurationError
from mqtransport.message import Outgoing, RawDelivery

_T = TypeVar("_T")

_log = logging.getLogger("mqtransport.brokers.sqlite")

OPEN_TIMEOUT_S = 60.0
"""Opening checks the whole file, which takes a second for some hundred MiB."""


class SQLiteBroker(Broker):
    """A broker in a file.

    Several processes of one machine may use the file at once, and each of them may be killed at
    any moment. Queues come into being on first use. One object is for one event loop at a time.

    Args:
        path: the file; it is made, with mode 0600, if it is not there.
        synchronous: ``FULL``: a confirmed message survives a power cut. ``NORMAL``: it survives
            the end of the process, but the last moments before a power cut may be lost; several
            times faster on slow disks.
        clock: where time comes from. Its monotonic clock must be that of the machine where
            several processes share the file.
        random: source of message ids.
        timeout_s: seconds after which a call counts as failed; more than 0.
        max_message_bytes: size limit of new queues, 1 to 1,048,576 (SQS's).

    Raises:
        RefusedError: ``max_message_bytes`` is out of range.

    Example:
        ```python
        async with SQLiteBroker("queues.db") as broker:
            await broker.ping(["orders"])
        ```
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="sqlite",
        max_batch=limits.MAX_BATCH,
        max_batch_bytes=limits.MAX_MESSAGE_BYTES,
        max_message_bytes=limits.MAX_MESSAGE_BYTES,
        max_attributes=limits.MAX_ATTRIBUTES,
        max_wait_s=limits.MAX_WAIT_S,
        max_delay_s=limits.MAX_DELAY_S,
        max_lease_s=limits.MAX_LEASE_S,
        lease_step_s=0.0,
        durable=True,
        ordered=True,
        receive_cancellable=True,
        creates_queues=True,
        detects_stale_receipts=True,
    )

    def __init__(
        self,
        path: str | Path,
        *,
        synchronous: Synchronous = "FULL",
        clock: Clock | None = None,
        random: random_module.Random | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_message_bytes: int = limits.MAX_MESSAGE_BYTES,
    ) -> None:
        self.timeout_s = timeout_s
        # Absolute, for the process may change its folder; and ":memory:" is a file like any other.
        self._path = Path(path).absolute()
        self._synchronous: Synchronous = synchronous
        self._clock = clock or SystemClock()
        self._random = random or new_random()
        self._verbs = Verbs(self._now, CHECKS.message_limit(max_message_bytes))
        self._waiters: defaultdict[str, Waiters] = defaultdict(Waiters)
        self._wakings: defaultdict[str, int] = defaultdict(int)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self._connecting = asyncio.Lock()
        self._closed = False

    def __repr__(self) -> str:
        return f"<SQLiteBroker {self._path.name!r}>"

    async def connect(self) -> None:
        """Open the file and check it whole.

        Raises:
            ConfigurationError: the path cannot be used, or the file is damaged (it is put aside),
                of a newer version, or another program's.
            BrokerUnavailableError: the file is locked, or the disk fails.
        """
        async with self._connecting:
            if self._closed:
                raise ClosedError("SQLite: this broker was closed; make a new one")
            if self._worker is not None:
                return
            opening = partial(
                files.open_file,
                self._path,
                synchronous=self._synchronous,
                timeout_s=self.timeout_s,
                boot_id=files.this_boot(),
                now=self._now,
            )
            worker = Worker(
                opening, self._on_foreign_write, self._verbs.note_clocks, self.timeout_s
            )
            try:
                await worker.start(OPEN_TIMEOUT_S)
            except TimeoutError as late:
                raise BrokerUnavailableError(
                    f"SQLite: {self._path.name!r} was not open within {OPEN_TIMEOUT_S:g} s: the "
                    f"file is large or the disk slow, and all of it is checked"
                ) from late
            except (sqlite3.Error, OSError) as error:
                raise translated("open", self._path.name, error) from error
            if self._closed:  # meanwhile, by an aclose that could not wait for so long
                await worker.stop(self.timeout_s)
                raise ClosedError("SQLite: this broker was closed while it opened its file")
            self._worker = worker

    async def aclose(self) -> None:  # noqa: D102 - the contract is Broker's
        self._closed = True  # a connect that is under way closes what it opens
        worker, self._worker = self._worker, None
        self._wake_all()
        if worker is not None:
            await worker.stop(self.timeout_s)

    async def ping(self, queues: Sequence[str]) -> None:  # noqa: D102
        looked = self._open_worker("ping").submit(
            lambda db: db.execute("SELECT 1 FROM boot").fetchone()
        )
        await self._outcome("ping", "", looked)

    async def declare(self, queue: str, options: QueueOptions) -> None:  # noqa: D102
        CHECKS.options(queue, options)
        CHECKS.name("declare", options.dead_letter_queue or queue)
        worker = self._worker_for("declare", queue)
        declared = worker.submit(self._verbs.declare(queue, options), grows=True)
        await self._outcome("declare", queue, declared)

    async def describe(self, queue: str) -> QueueInfo:  # noqa: D102
        worker = self._worker_for("describe", queue)
        described = worker.submit(self._verbs.describe(queue))
        return await self._outcome("describe", queue, described)

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:  # noqa: D102
        worker = self._worker_for("send", queue)
        CHECKS.batch("send", queue, batch)
        sizes: list[int] = []
        records: list[Record | BrokerError] = []
        for item in batch:  # one loop: comprehensions take 0.4 us more
            sizes.append(limits.counted_bytes(item))
            records.append(self._record(queue, item, sizes[-1]))
        CHECKS.total(queue, sizes)
        # Stored although its caller is gone, it wakes those who wait for it all the same.
        put = Job(self._verbs.put, (queue, records), True, lambda _: self._wake(queue))
        stored: asyncio.Future[list[str | BrokerError]] = worker.begin(put)
        answers = await self._outcome("send", queue, stored)
        self._wake(queue)
        return answers

    async def receive(  # noqa: D102
        self,
        queue: str,
        *,
        max_messages: int,
        wait_s: float,
        lease_s: float,
        attempt_id: str | None = None,
    ) -> list[RawDelivery]:
        worker = self._open_worker("receive")
        CHECKS.receive(queue, max_messages, wait_s, lease_s)
        self._loop = asyncio.get_running_loop()
        deadline = self._clock.monotonic() + wait_s
        worker.watched += 1
        try:
            while True:
                wakings = self._wakings[queue]
                taken, due, _ = await self._claim(queue, max_messages, lease_s, attempt_id)
                now = self._clock.monotonic()
                if taken or now >= deadline:
                    return taken
                if self._wakings[queue] != wakings:
                    continue  # something came after the look, and before the wait
                until = deadline if due is None else min(due, deadline)
                await self._waiters[queue].wait(until - now)
        finally:
            worker.watched -= 1

    async def ack(self, queue: str, receipts: Sequence[str]) -> list[BrokerError | None]:  # noqa: D102
        worker = self._worker_for("ack", queue)
        CHECKS.batch("ack", queue, receipts)
        deleted = worker.submit_one_of(self._verbs.delete, (queue, receipts))
        answers = await self._outcome("ack", queue, deleted)
        if limits.is_fifo(queue):
            self._wake(queue)  # its group may be free now
        return answers

    async def release(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        CHECKS.seconds("release", queue, "delay_s", delay_s, limits.MAX_LEASE_S, zero=True)
        return await self._change("release", queue, receipts, delay_s, leased=False)

    async def extend(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        CHECKS.seconds("extend", queue, "lease_s", lease_s, limits.MAX_LEASE_S)
        return await self._change("extend", queue, receipts, lease_s, leased=True)

    async def limit_queue(self, queue: str, max_message_bytes: int) -> None:
        """Lower one queue's size limit, as an operator can on SQS; for tests.

        Args:
            queue: which; it comes into being if need be.
            max_message_bytes: 1 to 1,048,576.
        """
        worker = self._worker_for("limit", queue)
        limited = worker.submit(self._verbs.limit(queue, max_message_bytes))
        await self._outcome("limit", queue, limited)

    # -- on the loop -----------------------------------------------------------------------

    async def _claim(self, queue: str, most: int, lease_s: float, attempt_id: str | None) -> Taken:
        """Take what is there now; what is taken for a caller who is gone is given back."""
        worker = self._worker_for("receive", queue)
        work = self._verbs.take(queue, most, lease_s, attempt_id)
        give_back = partial(self._give_back, worker, queue)
        claim: asyncio.Future[Taken] = worker.begin(Job(each, work, unwanted=give_back))
        try:
            found = await self._outcome("receive", queue, claim)
        except asyncio.CancelledError:
            # Cancelled between the answer and its arrival: later, and the job gives it back.
            if not claim.cancelled() and claim.exception() is None:
                give_back(claim.result())
            raise
        if found.moved:
            self._wake_all()  # those who wait on the dead letter queue
        return found

    def _give_back(self, worker: Worker, queue: str, taken: Taken) -> None:
        if taken.moved:
            self._wake_all()
        if taken.deliveries:
            done = worker.submit(self._verbs.give_up(queue, taken.deliveries))
            done.add_done_callback(partial(self._given_back, queue))

    def _given_back(self, queue: str, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.warning("SQLite: queue %r: messages come back after a lease: %s", queue, error)
        self._wake(queue)

    async def _change(
        self, verb: str, queue: str, receipts: Sequence[str], seconds: float, *, leased: bool
    ) -> list[BrokerError | None]:
        worker = self._worker_for(verb, queue)
        CHECKS.batch(verb, queue, receipts)
        changed = worker.submit(self._verbs.set_end(verb, queue, receipts, seconds, leased=leased))
        answers = await self._outcome(verb, queue, changed)
        self._wake(queue)
        return answers

    def _record(self, queue: str, item: Outgoing, size_bytes: int) -> Record | BrokerError:
        # The queue's own limit, which may be lower, is looked at with the queue.
        if why := limits.why_refused(
            item,
            max_bytes=limits.MAX_MESSAGE_BYTES,
            fifo=limits.is_fifo(queue),
            size=size_bytes,
        ):
            return CHECKS.refused("send", queue, why)
        return record_of(item, new_id(self._random), size_bytes)

    def _open_worker(self, verb: str) -> Worker:
        if self._closed:
            raise ClosedError(f"SQLite: {verb} after aclose(); make a new broker")
        if self._worker is None:
            raise ClosedError(f"SQLite: {verb} before connect(); call connect() first")
        if self._worker.pid != os.getpid():
            raise ConfigurationError(
                f"SQLite: {verb} in a process that was forked after connect(); neither the thread "
                f"of the file nor its locks come along. Connect in each process, after the fork"
            )
        return self._worker

    def _worker_for(self, verb: str, queue: str) -> Worker:
        worker = self._open_worker(verb)
        CHECKS.name(verb, queue)
        return worker

    async def _outcome(self, verb: str, queue: str, done: asyncio.Future[_T]) -> _T:
        """Wait for what the worker does; its errors become ours."""
        try:
            return await done
        except TimeoutError as late:
            raise BrokerUnavailableError(
                f"SQLite: {verb} on queue {queue!r}: the file was busy for {self.timeout_s:g} s",
                queue=queue,
                maybe_done=True,
            ) from late
        except sqlite3.Error as error:
            raise translated(verb, queue, error) from error

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.time())

    def _on_foreign_write(self) -> None:
        """Another process wrote to the file (on the worker's thread): look again."""
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it is closed: nobody waits on it any more
                loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for queue in list(self._wakings):  # every receive has made its own entry
            self._wake(queue)

    def _wake(self, queue: str) -> None:
        self._wakings[queue] += 1
        self._waiters[queue].wake_all()
