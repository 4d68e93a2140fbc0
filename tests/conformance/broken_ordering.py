"""Memory brokers whose ordered queues are wrong, in one way each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mqtransport import limits
from mqtransport.broker import QueueOptions
from mqtransport.brokers._memory_queue import LeasingQueue, MemoryQueue, Message, Terms
from mqtransport.brokers._ordered_queue import OrderedQueue
from mqtransport.brokers._waiters import Waiters
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError
from mqtransport.message import Outgoing, RawDelivery

from .harnesses import Defects, into

DEFECTS: Defects = []
caught_by = partial(into, DEFECTS)

Settled = list[BrokerError | None]


class With(MemoryBroker):
    """Its ordered queues are of another class."""

    kind: type[OrderedQueue]

    def _queue(self, verb: str, name: str) -> LeasingQueue:
        made = super()._queue(verb, name)
        if isinstance(made, OrderedQueue):
            made.__class__ = self.kind
        return made


@caught_by("a_group_in_flight_is_hidden_and_other_groups_are_not")
class KnowsNoGroups(MemoryBroker):
    def _queue(self, verb: str, name: str) -> LeasingQueue:
        if name not in self._queues:
            self._queues[name] = MemoryQueue(name, max_message_bytes=1_000_000)
        return self._queues[name]


@caught_by("a_group_in_flight_is_hidden_and_other_groups_are_not")
class OneGroupBlocksAll(With):
    class kind(OrderedQueue):
        def take(self, terms: Terms) -> list[RawDelivery]:
            return [] if self._leased else super().take(terms)


@caught_by("a_group_comes_in_the_order_of_its_sends")
class LastSentComesFirst(With):
    class kind(OrderedQueue):
        def put(self, message: Message, **when: Any) -> None:
            self._sequence -= 2
            super().put(message, **when)


@caught_by("a_batch_keeps_its_order")
class SendsBatchesBackwards(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        return (await super().send(queue, batch[::-1]))[::-1]


@caught_by("what_one_receive_brings_of_a_group_is_in_order")
class ShufflesReceives(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return super()._take(*args)[::-1]


@caught_by("competing_receivers_see_each_group_in_order")
class ForgetsGroupsOfTwo(With):
    class kind(OrderedQueue):
        def take(self, terms: Terms) -> list[RawDelivery]:
            taken = super().take(terms)
            if len(taken) > 1:
                self._groups[taken[0].group].hidden = 0
                self._review(taken[0].group)
            return taken


@caught_by("groups_come_back_on_the_delivery")
class DropsGroups(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [d._replace(group=None) for d in super()._take(*args)]


@caught_by("a_message_without_a_group_is_refused_alone")
class InventsGroups(MemoryBroker):
    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        return super()._put(
            target, replace(item, group=item.group or "default"), size_bytes, *times
        )


@caught_by("a_message_with_a_delay_is_refused_alone")
class IgnoresDelays(MemoryBroker):
    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        return super()._put(target, replace(item, delay_s=None), size_bytes, *times)


@caught_by("a_message_without_a_group_is_refused_alone")
class OneRefusedItemFailsAll(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        for item in batch:
            if limits.is_fifo(queue) and item.group is None:
                raise BrokerError("one has no group", queue=queue)
        return await super().send(queue, batch)


@caught_by("a_dead_letter_queue_of_the_other_kind_is_refused")
class SkipsMixedDeadLetterQueues(MemoryBroker):
    async def declare(self, queue: str, options: QueueOptions) -> None:
        dead = options.dead_letter_queue
        if dead is not None and limits.is_fifo(dead) != limits.is_fifo(queue):
            options = replace(options, dead_letter_queue=None)
        await super().declare(queue, options)


@caught_by("after_the_ack_the_next_of_the_group_comes")
class AcksFreeNothing(With):
    class kind(OrderedQueue):
        def delete(self, receipt: str) -> bool:
            return MemoryQueue.delete(self, receipt)  # type: ignore[arg-type]


@caught_by("a_group_is_hidden_until_all_of_it_in_flight_is_acked")
class AnyAckFrees(With):
    class kind(OrderedQueue):
        def delete(self, receipt: str) -> bool:
            if receipt in self._leased:
                self._groups[self._leased[receipt].group].hidden = 1
            return super().delete(receipt)


def _to_the_end(queue: OrderedQueue, message: Message) -> None:
    queue._sequence += 1
    message.sequence = queue._sequence


@caught_by("a_released_head_comes_first_again")
class ReleasesGoToTheEnd(With):
    class kind(OrderedQueue):
        def give_back(self, receipt: str, **when: Any) -> None:
            _to_the_end(self, self._leased[receipt])
            super().give_back(receipt, **when)


@caught_by("the_end_of_a_lease_brings_the_group_back_in_its_order")
class EndedLeasesGoToTheEnd(With):
    class kind(OrderedQueue):
        def _show(self, message: Message) -> None:
            _to_the_end(self, message)
            super()._show(message)


@caught_by("a_head_released_with_a_delay_hides_its_group_until_then")
class DelayedHeadsAreOvertaken(With):
    class kind(OrderedQueue):
        def _hide(self, message: Message, until: float) -> None:
            super()._hide(message, until)
            if message.receipt is None:
                self._groups[message.group].hidden -= 1
                self._review(message.group)


@caught_by("a_head_released_with_a_delay_hides_its_group_until_then")
class DelaysHideNothing(MemoryBroker):
    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Settled:
        return await super().release(queue, receipts, delay_s=0)


@caught_by("an_extension_keeps_the_group_hidden")
class ExtensionsFree(With):
    class kind(OrderedQueue):
        def prolong(self, receipt: str, *, until: float) -> None:
            super().prolong(receipt, until=until)
            self._groups[self._leased[receipt].group].hidden -= 1
            self._review(self._leased[receipt].group)


class _ShownAtOnce(OrderedQueue):
    def give_back(self, receipt: str, **when: Any) -> None:
        name = self._leased[receipt].group
        super().give_back(receipt, **when)
        group = self._groups[name]
        held, group.hidden = group.hidden, 0
        self._review(name)
        group.hidden = held


@caught_by("a_tail_released_under_a_leased_head_stays_hidden")
class ShowsReleasedTails(With):
    kind = _ShownAtOnce


@caught_by("releases_in_any_order_restore_the_groups_order")
class ShowsGroupsHalfReleased(With):
    kind = _ShownAtOnce


@caught_by("a_stale_ack_leaves_the_group_to_its_new_holder")
class StaleAcksDelete(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        target = self._queue("ack", queue)
        for current in [r for r in target._leased if r not in receipts][: len(receipts)]:
            target.delete(current)
        return await super().ack(queue, receipts)


@caught_by("an_ack_after_the_lease_deletes_nothing")
class LateAcksDelete(With):
    class kind(OrderedQueue):
        def advance(self, now: float) -> None:
            pass

        def take(self, terms: Terms) -> list[RawDelivery]:
            super().advance(terms.now)
            return super().take(terms)


@caught_by("a_dead_lettered_head_frees_its_group")
class DeadLettersTakeTheTailAlong(With):
    class kind(OrderedQueue):
        def _dead_lettered(self, message: Message, now: float) -> bool:
            moved = super()._dead_lettered(message, now)
            if moved:
                self._groups[message.group].ready.clear()
            return moved


@caught_by("a_dead_lettered_head_frees_its_group")
class DeadLettersLoseTheirGroup(With):
    class kind(OrderedQueue):
        def put(self, message: Message, **when: Any) -> None:
            if "delay_s" not in when:
                message.group = "dead"
            super().put(message, **when)


@caught_by("a_waiting_receive_wakes_when_an_ack_frees_the_group")
class AcksWakeNobody(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        waiters, self._waiters = self._waiters, defaultdict(Waiters)
        try:
            return await super().ack(queue, receipts)
        finally:
            self._waiters = waiters


@caught_by("a_waiting_receive_wakes_when_a_release_frees_the_group")
class ReleasesWakeNobody(MemoryBroker):
    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Settled:
        waiters, self._waiters = self._waiters, defaultdict(Waiters)
        try:
            return await super().release(queue, receipts, delay_s=delay_s)
        finally:
            self._waiters = waiters


@caught_by("a_waiting_receive_wakes_when_the_end_of_a_lease_frees_the_group")
class WaitsBlindly(With):
    class kind(OrderedQueue):
        def next_due(self) -> float | None:
            return None

        def advance(self, now: float) -> None:
            while (first := self._first_hidden()) is not None and first[0] <= now:
                self._show(first[2])
