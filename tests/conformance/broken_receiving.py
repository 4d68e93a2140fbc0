"""Memory brokers that receive, describe, dead-letter or close wrongly, in one way each."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers._memory_queue import MemoryQueue, Message, Terms
from mqtransport.brokers._waiters import Waiters
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError
from mqtransport.message import Outgoing, RawDelivery

from .harnesses import Defects, into

DEFECTS: Defects = []
caught_by = partial(into, DEFECTS)


@caught_by("a_receive_returns_at_most_max_messages")
class OverfillsReceives(MemoryBroker):
    def _take(self, queue: str, max_messages: int, *rest: Any) -> list[RawDelivery]:
        return super()._take(queue, max_messages + 1, *rest)


@caught_by("an_empty_receive_returns_nothing_and_only_after_wait_s")
class NeverWaits(MemoryBroker):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        return await super().receive(queue, **{**options, "wait_s": 0})


class _SleepsWhole(Waiters):
    async def wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@caught_by("a_waiting_receive_wakes_on_arrival")
class WakesLate(MemoryBroker):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiters.default_factory = _SleepsWhole


class _Forgetful(MemoryQueue):
    def next_due(self) -> float | None:
        return None

    def advance(self, now: float) -> None:
        while (first := self._first_hidden()) is not None and first[0] <= now:
            self._show(first[2])


@caught_by("a_waiting_receive_wakes_when_a_lease_ends")
class ForgetsTimersWhileWaiting(MemoryBroker):
    def _queue(self, verb: str, name: str) -> MemoryQueue:
        made = super()._queue(verb, name)
        made.__class__ = _Forgetful
        return made


class _Lost(Waiters):
    def wake_one(self) -> bool:
        # Only a sender wakes; the clean-up of a receive that leaves does not.
        task = asyncio.current_task()
        return task is not None and not task.cancelling() and super().wake_one()


@caught_by("a_message_reaches_another_waiting_receive_when_one_is_cancelled")
class TakesTheWakeUpAlong(MemoryBroker):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiters.default_factory = _Lost


@caught_by("receives_cancelled_at_any_moment_hide_nothing")
class HidesOnCancel(MemoryBroker):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        taken = await super().receive(queue, **options)
        await asyncio.sleep(0)
        return taken


@caught_by("a_leased_message_is_hidden")
class LeasesForNoTime(MemoryBroker):
    def _take(self, queue: str, max_messages: int, lease_s: float, *rest: Any) -> list[RawDelivery]:
        return super()._take(queue, max_messages, 0, *rest)


@caught_by("the_end_of_a_lease_redelivers")
class LeasesNeverEnd(MemoryBroker):
    def _take(self, queue: str, max_messages: int, lease_s: float, *rest: Any) -> list[RawDelivery]:
        return super()._take(queue, max_messages, 40_000, *rest)


class _OneReceipt(MemoryQueue):
    def take(self, terms: Terms) -> list[RawDelivery]:
        taken = super().take(terms)
        return [d._replace(receipt=d.broker_id) for d in taken]


@caught_by("the_end_of_a_lease_redelivers")
class OneReceiptPerMessage(MemoryBroker):
    def _queue(self, verb: str, name: str) -> MemoryQueue:
        made = super()._queue(verb, name)
        made.__class__ = _OneReceipt
        return made


@caught_by("a_receive_outside_its_ranges_is_refused")
class ClampsArguments(MemoryBroker):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        options["max_messages"] = min(max(options["max_messages"], 1), 10)
        return await super().receive(queue, **options)


@caught_by("queues_are_isolated")
class OneQueueForAll(MemoryBroker):
    def _queue(self, verb: str, name: str) -> MemoryQueue:
        return super()._queue(verb, "all")


@caught_by("declaring_twice_keeps_the_messages")
class DeclarePurges(MemoryBroker):
    async def declare(self, queue: str, options: QueueOptions) -> None:
        self._queues.pop(queue, None)
        await super().declare(queue, options)


@caught_by("the_brokers_own_dead_lettering_keeps_body_and_attributes")
class NeverDeadLetters(MemoryBroker):
    async def declare(self, queue: str, options: QueueOptions) -> None:
        await super().declare(queue, replace(options, dead_letter_queue=None))


class _Stripping(MemoryQueue):
    def put(self, message: Message, **when: Any) -> None:
        if message.first_received_at is None and message.attempt == 0 and "delay_s" not in when:
            message.attributes = {}
        super().put(message, **when)


@caught_by("the_brokers_own_dead_lettering_keeps_body_and_attributes")
class DeadLettersWithoutAttributes(MemoryBroker):
    def _queue(self, verb: str, name: str) -> MemoryQueue:
        made = super()._queue(verb, name)
        made.__class__ = _Stripping
        return made


@caught_by("dead_lettering_takes_only_what_was_delivered_too_often")
class DeadLettersEverything(MemoryBroker):
    async def declare(self, queue: str, options: QueueOptions) -> None:
        await super().declare(queue, options)
        if options.dead_letter_queue is not None:
            self._queue("declare", queue).options = replace(options, max_receive_count=0)


@caught_by("describe_tells_the_limit_and_the_counts")
class CountsWhatIsLeased(MemoryBroker):
    async def describe(self, queue: str) -> QueueInfo:
        info = await super().describe(queue)
        return replace(info, depth=(info.depth or 0) + (info.in_flight or 0))


@caught_by("describe_tells_a_lowered_limit")
class DescribesTheBrokersLimit(MemoryBroker):
    async def describe(self, queue: str) -> QueueInfo:
        return replace(await super().describe(queue), max_message_bytes=1_048_576)


@caught_by("stamps_are_plausible_and_kept")
class StampsInMilliseconds(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [d._replace(sent_at=1000 * (d.sent_at or 0)) for d in super()._take(*args)]


@caught_by("no_verb_works_before_connect")
class WorksBeforeConnect(MemoryBroker):
    def _check_open(self, verb: str) -> None:
        if self._state == "closed":
            super()._check_open(verb)


@caught_by("no_verb_works_after_aclose")
class WorksAfterClose(MemoryBroker):
    def _check_open(self, verb: str) -> None:
        if self._state == "new":
            super()._check_open(verb)


@caught_by("closing_leaves_no_task_behind")
class LeavesATask(MemoryBroker):
    async def connect(self) -> None:
        await super().connect()
        self._left = asyncio.create_task(asyncio.sleep(3600))


@caught_by("ping_makes_no_queue_and_takes_no_message")
class PingsWithAMessage(MemoryBroker):
    async def ping(self, queues: Sequence[str]) -> None:
        await super().ping(queues)
        for queue in queues:
            await self.send(queue, [Outgoing("probe", "probe", {})])


@caught_by("ping_passes_with_and_without_queues")
class PingsNoMissingQueue(MemoryBroker):
    async def ping(self, queues: Sequence[str]) -> None:
        await super().ping(queues)
        for queue in queues:
            if queue not in self._queues:
                raise BrokerError("missing", queue=queue)
