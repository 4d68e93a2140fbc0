"""Memory brokers that send, settle or lease wrongly, in one way each."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mqtransport.brokers._memory_queue import MemoryQueue
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, RefusedError, StaleReceiptError
from mqtransport.message import Outgoing, RawDelivery

from .harnesses import Defects, into

DEFECTS: Defects = []
caught_by = partial(into, DEFECTS)

Settled = list[BrokerError | None]


@caught_by("a_delay_hides_then_delivers")
class IgnoresDelay(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        return await super().send(queue, [replace(item, delay_s=0) for item in batch])


@caught_by("a_delay_above_the_limit_fails_alone")
class ClipsDelay(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        clipped = [replace(item, delay_s=min(item.delay_s or 0, 900)) for item in batch]
        return await super().send(queue, clipped)


@caught_by("an_ack_removes_the_message_for_good")
class AckDeletesNothing(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        return [None for _ in receipts]


@caught_by("an_ack_of_a_batch_removes_each_and_none_besides")
class AckDeletesOnlyTheFirst(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        return await super().ack(queue, receipts[:1]) + [None for _ in receipts[1:]]


@caught_by("acking_twice_is_fine")
class AckTwiceFails(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        self._queue("ack", queue)._acked.clear()
        return await super().ack(queue, receipts)


@caught_by("a_stale_ack_leaves_the_message_to_its_new_holder")
class StaleAckDeletes(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        target = self._queue("ack", queue)
        for current in [r for r in target._leased if r not in receipts][: len(receipts)]:
            target.delete(current)
        return [None for _ in receipts]


@caught_by("one_bad_receipt_among_good_ones_fails_alone")
class OneBadReceiptFailsTheCall(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        answers = await super().ack(queue, receipts)
        if any(answers):
            raise StaleReceiptError("one of them", queue=queue)
        return answers


@caught_by("one_bad_receipt_among_good_ones_fails_alone")
class BadReceiptsAreConfirmed(MemoryBroker):
    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Settled:
        await super().release(queue, receipts, delay_s=delay_s)
        return [None for _ in receipts]


@caught_by("the_end_of_a_lease_redelivers")
class AttemptNeverRises(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [d._replace(attempt=1) for d in super()._take(*args)]


@caught_by("the_first_attempt_is_one")
class AttemptStartsAtZero(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [d._replace(attempt=d.attempt - 1) for d in super()._take(*args)]


@caught_by("an_extension_sets_the_end_and_does_not_add")
class ExtendAdds(MemoryBroker):
    async def extend(self, queue: str, receipts: Sequence[str], *, lease_s: float) -> Settled:
        return await super().extend(queue, receipts, lease_s=lease_s + 20)


@caught_by("an_extension_keeps_it_hidden_beyond_the_first_lease")
class ExtendDoesNothing(MemoryBroker):
    async def extend(self, queue: str, receipts: Sequence[str], *, lease_s: float) -> Settled:
        return [None for _ in receipts]


@caught_by("an_extension_beyond_the_longest_lease_is_refused")
class ExtendHasNoLimit(MemoryBroker):
    async def extend(self, queue: str, receipts: Sequence[str], *, lease_s: float) -> Settled:
        return await super().extend(queue, receipts, lease_s=min(lease_s, 43_000))


@caught_by("a_release_with_a_delay_redelivers_after_it")
class ReleaseIgnoresDelay(MemoryBroker):
    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Settled:
        return await super().release(queue, receipts, delay_s=0)


@caught_by("a_release_without_delay_redelivers_at_once")
class ReleaseDoesNothing(MemoryBroker):
    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Settled:
        return [None for _ in receipts]


@caught_by("an_oversize_item_fails_alone")
class OversizeFailsTheBatch(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        limit = self._queue("send", queue).max_message_bytes
        if any(len(item.body) > limit for item in batch):
            raise RefusedError("one is too large", queue=queue)
        return await super().send(queue, batch)


@caught_by("the_size_limit_is_exact_and_counts_attributes")
class AttributesAreFree(MemoryBroker):
    def _put(
        self, target: MemoryQueue, item: Outgoing, size_bytes: int, *times: float
    ) -> str | BrokerError:
        carried = super()._put(target, replace(item, attributes={}), len(item.body), *times)
        if isinstance(carried, str):
            target._ready[-1].attributes = item.attributes
        return carried


@caught_by("an_item_with_an_illegal_character_fails_alone")
class DropsIllegalCharacters(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        cleaned = [replace(item, body=item.body.replace("\x00", "")) for item in batch]
        return await super().send(queue, cleaned)


@caught_by("bodies_come_back_byte_exact")
class StripsBodies(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [d._replace(body=d.body.strip()) for d in super()._take(*args)]


@caught_by("characters_beyond_the_basic_plane_come_back_exact")
class LosesEmoji(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [
            d._replace(body="".join(c if c < "\U00010000" else "?" for c in d.body))
            for d in super()._take(*args)
        ]


@caught_by("carriage_returns_come_back_exact")
class NormalisesLineEnds(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [
            d._replace(body=d.body.replace("\r\n", "\n").replace("\r", "\n"))
            for d in super()._take(*args)
        ]


@caught_by("attributes_of_every_type_come_back_exact")
class DropsAttributes(MemoryBroker):
    def _take(self, *args: Any) -> list[RawDelivery]:
        return [
            d._replace(attributes={k: v for k, v in d.attributes.items() if k == "Name"})
            for d in super()._take(*args)
        ]


@caught_by("send_answers_item_by_item_in_order")
class AnswersOutOfOrder(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        return (await super().send(queue, batch))[::-1]


@caught_by("a_call_with_too_many_items_is_refused_whole")
class TakesTooManyItems(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        if len(batch) < 2:
            return await super().send(queue, batch)
        return await super().send(queue, batch[:1]) + await self.send(queue, batch[1:])


@caught_by("a_call_without_items_is_refused")
class TakesNoItems(MemoryBroker):
    async def ack(self, queue: str, receipts: Sequence[str]) -> Settled:
        return await super().ack(queue, receipts) if receipts else []


@caught_by("a_batch_above_max_batch_bytes_is_refused_whole")
class HasNoByteLimit(MemoryBroker):
    async def send(self, queue: str, batch: Sequence[Outgoing]) -> list[str | BrokerError]:
        if not 1 < len(batch) <= 10:
            return await super().send(queue, batch)
        return await super().send(queue, batch[:1]) + await self.send(queue, batch[1:])
