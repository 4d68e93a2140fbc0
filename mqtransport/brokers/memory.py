"""The memory broker: SQS's semantics inside one process, nothing to install.

It leases, delays, redelivers and refuses like SQS, so that code which runs on it runs on SQS.
Messages end with the process. Ordered queues (``*.fifo``) keep SQS's rules of groups and
duplicates too.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import ClassVar

from mqtransport import limits
from mqtransport.broker import DEFAULT_TIMEOUT_S, Broker, Capabilities, QueueInfo, QueueOptions
from mqtransport.brokers._checks import Checks
from mqtransport.brokers._memory_queue import LeasingQueue, MemoryQueue, Message, Terms
from mqtransport.brokers._ordered_queue import OrderedQueue
from mqtransport.brokers._waiters import Waiters
from mqtransport.clock import Clock, SystemClock, new_id, new_random
from mqtransport.errors import BrokerError, ClosedError
from mqtransport.message import Outgoing, RawDelivery

CHECKS = Checks("memory broker")


class MemoryBroker(Broker):
    """A broker in memory.

    Queues come into being on first use, also when they are only described. One instance may
    be shared by several apps of a process, and used by one event loop after another. On standard
    queues what was ready longest is delivered first, which is more than SQS promises; on ordered
    ones, of the groups that are free, the one whose next message was sent first.

    Args:
        clock: where time comes from; on a virtual loop, its own clock.
        random: source of message ids and receipts.
        timeout_s: part of the contract; nothing here ever takes that long.
        max_message_bytes: size limit of each queue, 1 to 1,048,576 (SQS's).

    Raises:
        RefusedError: ``max_message_bytes`` is out of range.

    Example:
        >>> import asyncio
        >>> from mqtransport.message import Outgoing
        >>> async def main():
        ...     async with MemoryBroker() as broker:
        ...         await broker.send("orders", [Outgoing("1", "hello", {})])
        ...         return await broker.receive("orders", max_messages=1, wait_s=0, lease_s=30)
        >>> asyncio.run(main())[0].body
        'hello'
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        name="memory",
        max_batch=limits.MAX_BATCH,
        max_batch_bytes=limits.MAX_MESSAGE_BYTES,
        max_message_bytes=limits.MAX_MESSAGE_BYTES,
        max_attributes=limits.MAX_ATTRIBUTES,
        max_wait_s=limits.MAX_WAIT_S,
        max_delay_s=limits.MAX_DELAY_S,
        max_lease_s=limits.MAX_LEASE_S,
        lease_step_s=0.0,
        durable=False,
        ordered=True,
        receive_cancellable=True,
        creates_queues=True,
        detects_stale_receipts=True,
    )

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        random: random.Random | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_message_bytes: int = limits.MAX_MESSAGE_BYTES,
    ) -> None:
        self.timeout_s = timeout_s
        self._clock = clock or SystemClock()
        self._random = random or new_random()
        prefix = new_id(self._random)
        self._receipts = (f"{prefix}-{number}" for number in itertools.count(1))
        self._max_message_bytes = CHECKS.message_limit(max_message_bytes)
        self._queues: dict[str, LeasingQueue] = {}
        self._waiters: defaultdict[str, Waiters] = defaultdict(Waiters)
        self._state = "new"

    async def connect(self) -> None:  # noqa: D102 - the contract is in Broker
        if self._state == "closed":
            raise ClosedError("memory broker: it was closed; make a new one")
        self._state = "open"

    async def aclose(self) -> None:  # noqa: D102
        self._state = "closed"
        self._queues.clear()
        for waiters in self._waiters.values():
            waiters.wake_all()

    async def ping(self, queues: Sequence[str]) -> None:  # noqa: D102
        await self._enter("ping")

    async def declare(self, queue: str, options: QueueOptions) -> None:  # noqa: D102
        await self._enter("declare")
        CHECKS.options(queue, options)
        dead_name = options.dead_letter_queue
        known = queue in self._queues
        declared = self._queue("declare", queue)
        if not known:
            declared.options = dataclasses.replace(options, dead_letter_queue=None)
        if dead_name is not None and declared.dead_letters is None:
            declared.dead_letters = self._queue("declare", dead_name)
            declared.options = dataclasses.replace(
                declared.options,
                dead_letter_queue=dead_name,
                max_receive_count=options.max_receive_count,
            )

    async def describe(self, queue: str) -> QueueInfo:  # noqa: D102
        await self._enter("describe")
        return self._advanced("describe", queue).info()

    async def send(  # noqa: D102
        self, queue: str, batch: Sequence[Outgoing]
    ) -> list[str | BrokerError]:
        await self._enter("send")
        CHECKS.batch("send", queue, batch)
        target = self._queue("send", queue)
        now = self._clock.monotonic()
        target.advance(now)
        sizes = [limits.counted_bytes(item) for item in batch]
        CHECKS.total(queue, sizes)
        wall = self._clock.time()
        answers = [
            self._put(target, item, size, now, wall)
            for item, size in zip(batch, sizes, strict=True)
        ]
        if waiters := self._waiters.get(queue):
            for answer in answers:
                if isinstance(answer, str) and not waiters.wake_one():
                    break  # nobody waits
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
        await self._enter("receive")
        CHECKS.receive(queue, max_messages, wait_s, lease_s)
        deadline = self._clock.monotonic() + wait_s
        try:
            while True:
                taken = self._take(queue, max_messages, lease_s, attempt_id)
                if taken or self._clock.monotonic() >= deadline:
                    return taken
                # Until woken, until the next hidden message comes back, or until the deadline.
                due = self._queues[queue].next_due()
                until = deadline if due is None else min(due, deadline)
                await self._waiters[queue].wait(until - self._clock.monotonic())
                self._check_open("receive")
        finally:
            # Whoever leaves may have been the one that was woken, or the one whose timer is
            # set for the next hidden message: hand that over.
            left = self._queues.get(queue)
            if left is not None and (left.has_ready or left.next_due() is not None):
                self._waiters[queue].wake_one()

    async def ack(  # noqa: D102
        self, queue: str, receipts: Sequence[str]
    ) -> list[BrokerError | None]:
        self._check_open("ack")  # and no suspension: what can be acked has been received
        CHECKS.batch("ack", queue, receipts)
        target = self._advanced("ack", queue)
        answers: list[BrokerError | None] = [
            None if target.delete(receipt) else CHECKS.stale("ack", queue) for receipt in receipts
        ]
        # The end of a delivery may free its group. Whoever is woken hands on what is left.
        if target.has_ready:
            self._waiters[queue].wake_one()
        return answers

    async def release(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, delay_s: float
    ) -> list[BrokerError | None]:
        def give_back(target: LeasingQueue, receipt: str, now: float) -> None:
            target.give_back(receipt, now=now, delay_s=delay_s)

        await self._enter("release")
        CHECKS.seconds("release", queue, "delay_s", delay_s, limits.MAX_LEASE_S, zero=True)
        return self._change("release", queue, receipts, delay_s, give_back)

    async def extend(  # noqa: D102
        self, queue: str, receipts: Sequence[str], *, lease_s: float
    ) -> list[BrokerError | None]:
        def prolong(target: LeasingQueue, receipt: str, now: float) -> None:
            target.prolong(receipt, until=now + lease_s)

        await self._enter("extend")
        CHECKS.seconds("extend", queue, "lease_s", lease_s, limits.MAX_LEASE_S)
        return self._change("extend", queue, receipts, lease_s, prolong)

    def limit_queue(self, queue: str, max_message_bytes: int) -> None:
        """Lower one queue's size limit, as an operator can on SQS; for tests.

        Args:
            queue: which; it comes into being if need be.
            max_message_bytes: 1 to 1,048,576.

        Raises:
            RefusedError: the name or the limit is illegal.
        """
        self._queue("limit_queue", queue).max_message_bytes = CHECKS.message_limit(
            max_message_bytes
        )

    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, now: float, wall: float
    ) -> str | BrokerError:
        if why := limits.why_refused(
            item,
            max_bytes=target.max_message_bytes,
            fifo=target.fifo,
            size=size_bytes,
        ):
            return CHECKS.refused("send", target.name, why)
        message = Message(
            new_id(self._random),
            item.body,
            MappingProxyType(dict(item.attributes)),
            item.group,
            wall,
        )
        dedup_id = item.dedup_id or item.id
        return target.send(message, dedup_id=dedup_id, now=now, delay_s=item.delay_s or 0.0)

    def _take(
        self, queue: str, max_messages: int, lease_s: float, attempt_id: str | None
    ) -> list[RawDelivery]:
        source = self._advanced("receive", queue)
        terms = Terms(
            max_messages=max_messages,
            lease_s=lease_s,
            now=self._clock.monotonic(),
            wall=self._clock.time(),
            receipts=self._receipts,
            attempt_id=attempt_id,
        )
        taken = source.take(terms)
        if source.dead_letters is not None and source.dead_letters.has_ready:
            self._waiters[source.dead_letters.name].wake_one()
        return taken

    def _change(
        self,
        verb: str,
        queue: str,
        receipts: Sequence[str],
        seconds: float,
        change: Callable[[LeasingQueue, str, float], None],
    ) -> list[BrokerError | None]:
        """Set when each delivery's message comes back, ``seconds`` from now."""
        CHECKS.batch(verb, queue, receipts)
        target = self._advanced(verb, queue)
        now = self._clock.monotonic()
        answers: list[BrokerError | None] = []
        for receipt in receipts:
            since = target.held_since(receipt)
            if since is None:
                answers.append(CHECKS.stale(verb, queue))
            elif now + seconds - since > limits.MAX_LEASE_S:
                # AWS, ChangeMessageVisibility: 12 hours in all from the receive.
                answers.append(
                    CHECKS.refused(verb, queue, "the lease would be longer than 12 hours")
                )
            else:
                change(target, receipt, now)
                answers.append(None)
                self._waiters[queue].wake_one()
        return answers

    async def _enter(self, verb: str) -> None:
        self._check_open(verb)
        # Every other broker suspends here, for its I/O. Without it a loop around a verb that
        # never has to wait would starve the other tasks.
        await asyncio.sleep(0)
        self._check_open(verb)

    def _check_open(self, verb: str) -> None:
        if self._state == "new":
            raise ClosedError(f"memory broker: {verb} before connect(); call connect() first")
        if self._state == "closed":
            raise ClosedError(f"memory broker: {verb} after aclose(); make a new broker")

    def _queue(self, verb: str, name: str) -> LeasingQueue:
        found = self._queues.get(name)
        if found is not None:
            return found
        CHECKS.name(verb, name)
        kind = OrderedQueue if limits.is_fifo(name) else MemoryQueue
        made = self._queues[name] = kind(name, max_message_bytes=self._max_message_bytes)
        return made

    def _advanced(self, verb: str, name: str) -> LeasingQueue:
        queue = self._queue(verb, name)
        queue.advance(self._clock.monotonic())
        return queue
