"""Memory brokers that take a send or a receive made again wrongly, in one way each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mqtransport.brokers._memory_queue import LeasingQueue, MemoryQueue, Message, Terms
from mqtransport.brokers._ordered_queue import OrderedQueue, Recent
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError
from mqtransport.message import Outgoing, RawDelivery

from .broken_ordering import With
from .harnesses import Defects, into

DEFECTS: Defects = []
caught_by = partial(into, DEFECTS)


@caught_by("a_duplicate_is_confirmed_with_the_first_id_and_not_delivered")
class StoresDuplicates(With):
    class kind(OrderedQueue):
        def send(self, message: Message, *, dedup_id: str, **when: Any) -> str:
            return super().send(message, dedup_id=message.id, **when)


@caught_by("a_duplicate_is_confirmed_with_the_first_id_and_not_delivered")
class ForgetsDedupIdsOnAck(With):
    class kind(OrderedQueue):
        def delete(self, receipt: str) -> bool:
            self._sent = Recent()
            return super().delete(receipt)


@caught_by("a_duplicate_is_confirmed_with_the_first_id_and_not_delivered")
class ConfirmsDuplicatesWithNewIds(With):
    class kind(OrderedQueue):
        def send(self, message: Message, **options: Any) -> str:
            super().send(message, **options)
            return message.id


@caught_by("a_duplicate_leaves_its_neighbours_alone")
class ADuplicateEndsTheBatch(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        answers: list[str | BrokerError] = []
        for item in batch:
            (answer,) = await super().send(queue, [item])
            if answer in answers:
                return answers + [answer] * (len(batch) - len(answers))
            answers.append(answer)
        return answers


@caught_by("a_duplicate_in_another_group_is_one_too")
class DedupIdsCountPerGroup(With):
    class kind(OrderedQueue):
        def send(self, message: Message, *, dedup_id: str, **when: Any) -> str:
            return super().send(message, dedup_id=f"{message.group}/{dedup_id}", **when)


@caught_by("the_same_dedup_id_on_another_queue_is_no_duplicate")
class DedupIdsCountForAllQueues(With):
    kind = OrderedQueue

    def _queue(self, verb: str, name: str) -> LeasingQueue:
        made = super()._queue(verb, name)
        self.shared = getattr(self, "shared", Recent[str]())
        if isinstance(made, OrderedQueue):
            made._sent = self.shared
        return made


@caught_by("the_message_id_stands_in_for_a_missing_dedup_id")
class BodiesStandIn(MemoryBroker):
    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        return super()._put(
            target, replace(item, dedup_id=item.dedup_id or item.body), size_bytes, *times
        )


@caught_by("the_message_id_stands_in_for_a_missing_dedup_id")
class NothingStandsIn(With):
    kind = OrderedQueue

    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        self.sends = getattr(self, "sends", 0) + 1
        return super()._put(
            target, replace(item, dedup_id=item.dedup_id or str(self.sends)), size_bytes, *times
        )


@caught_by("a_dedup_id_goes_before_the_message_id")
class IgnoresDedupIds(MemoryBroker):
    def _put(
        self, target: LeasingQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        return super()._put(target, replace(item, dedup_id=None), size_bytes, *times)


@caught_by("a_receive_made_again_brings_the_same_messages")
class IgnoresAttemptIds(MemoryBroker):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        return await super().receive(queue, **{**options, "attempt_id": None})


@caught_by("a_receive_made_again_brings_the_same_messages")
class RepeatsWithDeadReceipts(With):
    class kind(OrderedQueue):
        def _repeated(self, terms: Terms) -> list[RawDelivery]:
            return [one._replace(receipt="none") for one in super()._repeated(terms)]


@caught_by("a_receive_with_another_attempt_id_is_another_receive")
class AllAttemptsAreOne(MemoryBroker):
    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        return await super().receive(queue, **{**options, "attempt_id": "same"})


@caught_by("a_receive_made_again_sets_the_leases_anew")
class RepeatsKeepTheLeases(With):
    class kind(OrderedQueue):
        def _repeated(self, terms: Terms) -> list[RawDelivery]:
            self._set_end = lambda message, until: None  # type: ignore[method-assign]
            try:
                return super()._repeated(terms)
            finally:
                del self._set_end


@caught_by("a_receive_is_not_made_again_after_a_settle")
class RepeatsWhatWasSettled(With):
    class kind(OrderedQueue):
        def take(self, terms: Terms) -> list[RawDelivery]:
            known: dict[str, list[RawDelivery]] = self.__dict__.setdefault("known", {})
            attempt_id = terms.attempt_id or ""
            return known.get(attempt_id) or known.setdefault(attempt_id, super().take(terms))


@caught_by("a_standard_queue_blocks_no_group_and_drops_no_duplicate")
class EveryQueueIsOrdered(MemoryBroker):
    def _queue(self, verb: str, name: str) -> LeasingQueue:
        if name not in self._queues:
            self._queues[name] = OrderedQueue(name, max_message_bytes=1_000_000)
        return self._queues[name]


class _NoDuplicates(MemoryQueue):
    def send(self, message: Message, *, dedup_id: str, **when: Any) -> str:
        known: set[str] = self.__dict__.setdefault("known", set())
        if dedup_id in known:
            return message.id
        known.add(dedup_id)
        return super().send(message, dedup_id=dedup_id, **when)


@caught_by("a_standard_queue_blocks_no_group_and_drops_no_duplicate")
class DropsDuplicatesEverywhere(MemoryBroker):
    def _queue(self, verb: str, name: str) -> LeasingQueue:
        made = super()._queue(verb, name)
        if isinstance(made, MemoryQueue):
            made.__class__ = _NoDuplicates
        return made
