"""What hides a group of an ordered queue, and what frees it."""

from __future__ import annotations

from mqtransport.broker import QueueOptions
from mqtransport.errors import StaleReceiptError
from mqtransport.message import RawDelivery
from mqtransport.testing.conformance.bench import PLENTY_S, Bench, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.groups import drained, put, together
from mqtransport.testing.conformance.running import case


class Freeing:
    """Cases about groups in flight: acks, releases, ends of leases, dead letters."""

    @case
    async def test_after_the_ack_the_next_of_the_group_comes(self, bench: Bench) -> None:
        """As a first attempt."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        first = await bench.take_one(queue=queue)
        await bench.claim_nothing_ready("before the ack", queue=queue)
        await settled(bench.broker.ack(queue, [first.receipt]))
        second = await bench.take_one(queue=queue)
        same((second.body, second.attempt), ("a2", 1), "body and attempt after the ack")

    @case
    async def test_a_group_is_hidden_until_all_of_it_in_flight_is_acked(self, bench: Bench) -> None:
        """Whichever of them is acked first."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3", "a4", "a5")
        for backwards, after in ((False, "a3"), (True, "a5")):
            receipts = [d.receipt for d in await together(bench, queue, 2)]
            one, two = reversed(receipts) if backwards else receipts
            await settled(bench.broker.ack(queue, [one]))
            await bench.claim_nothing_ready("a group of which one is leased", queue=queue)
            await settled(bench.broker.ack(queue, [two]))
            following = await bench.take_one(queue=queue)
            same(following.body, after, "what comes next")
            await settled(bench.broker.release(queue, [following.receipt], delay_s=0))

    @case
    async def test_a_released_head_comes_first_again(self, bench: Bench) -> None:
        """With one attempt more, and nothing of its group overtakes it."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3")
        for attempt in (1, 2, 3):
            head = await bench.take_one(queue=queue)
            same((head.body, head.attempt), ("a1", attempt), "body and attempt of the head")
            await settled(bench.broker.release(queue, [head.receipt], delay_s=0))
        same(await drained(bench, queue, 3), ["a1", "a2", "a3"], "the order")

    @case
    async def test_a_head_released_with_a_delay_hides_its_group_until_then(
        self, bench: Bench
    ) -> None:
        """And no other group; then it comes first again."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        head = await bench.take_one(queue=queue)
        await settled(bench.broker.release(queue, [head.receipt], delay_s=bench.lease_s))
        await bench.claim_nothing_ready("a group whose head is delayed", queue=queue)
        await put(bench, queue, "b1")
        same((await bench.take_one(queue=queue)).body, "b1", "what is delivered")
        await bench.elapse_lease()
        again = await bench.take_one(queue=queue)
        same((again.body, again.attempt), ("a1", 2), "body and attempt after the delay")

    @case
    async def test_the_end_of_a_lease_brings_the_group_back_in_its_order(
        self, bench: Bench
    ) -> None:
        """Each message to its own place, not behind the others."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3")
        await together(bench, queue, 2, lease_s=bench.lease_s)
        await put(bench, queue, "a4")
        await bench.elapse_lease()
        same(await drained(bench, queue, 4), ["a1", "a2", "a3", "a4"], "the order")

    @case
    async def test_an_extension_keeps_the_group_hidden(self, bench: Bench) -> None:
        """Beyond the end of the first lease."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        head = await bench.take_one(queue=queue, lease_s=bench.lease_s)
        await settled(bench.broker.extend(queue, [head.receipt], lease_s=PLENTY_S))
        await bench.elapse_lease()
        await bench.claim_nothing_ready("a group whose lease was extended", queue=queue)

    @case
    async def test_releases_in_any_order_restore_the_groups_order(self, bench: Bench) -> None:
        """One by one, last first and first first; nothing comes before the last of them."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3", "a4")
        for step in (-1, 1):
            *others, last = (await together(bench, queue, 3))[::step]
            for one in others:
                await settled(bench.broker.release(queue, [one.receipt], delay_s=0))
                await bench.claim_nothing_ready("a group of which one is leased", queue=queue)
            await settled(bench.broker.release(queue, [last.receipt], delay_s=0))
        same(await drained(bench, queue, 4), ["a1", "a2", "a3", "a4"], "the order")

    @case
    async def test_a_tail_released_under_a_leased_head_stays_hidden(self, bench: Bench) -> None:
        """It comes after the head was acked."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3")
        head, tail = await together(bench, queue, 2)
        await settled(bench.broker.release(queue, [tail.receipt], delay_s=0))
        await bench.claim_nothing_ready("a group whose head is leased", queue=queue)
        await settled(bench.broker.ack(queue, [head.receipt]))
        again = await bench.take_one(queue=queue)
        same((again.body, again.attempt), ("a2", tail.attempt + 1), "body and attempt of the tail")

    @case
    async def test_a_stale_ack_leaves_the_group_to_its_new_holder(self, bench: Bench) -> None:
        """After the lease ended, the old receipt neither deletes the head nor frees its group."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        old = await bench.take_one(queue=queue, lease_s=bench.lease_s)
        await bench.elapse_lease()
        new = await bench.take_one(queue=queue)
        same((new.body, new.attempt), ("a1", 2), "body and attempt of the redelivery")
        await _claim_stale(bench, queue, old)
        await bench.claim_nothing_ready("a group that somebody else holds", queue=queue)
        await settled(bench.broker.release(queue, [new.receipt], delay_s=0))
        same(await drained(bench, queue, 2), ["a1", "a2"], "the order")

    @case
    async def test_an_ack_after_the_lease_deletes_nothing(self, bench: Bench) -> None:
        """Even if nobody has received the message since."""
        bench.need(bench.capabilities.detects_stale_receipts, "stale receipts are not detected")
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        old = await bench.take_one(queue=queue, lease_s=bench.lease_s)
        await bench.elapse_lease()
        await _claim_stale(bench, queue, old)
        same(await drained(bench, queue, 2), ["a1", "a2"], "the order")

    @case
    async def test_a_dead_lettered_head_frees_its_group(self, bench: Bench) -> None:
        """Delivered too often, it goes to the dead letter queue, with its group; the next comes."""
        dead = await bench.ordered_queue()
        options = QueueOptions(dead_letter_queue=dead, max_receive_count=2)
        queue = await bench.ordered_queue(options)
        await put(bench, queue, "a1", "a2")
        for _ in range(2):
            head = await bench.take_one(queue=queue)
            same(head.body, "a1", "the head")
            await settled(bench.broker.release(queue, [head.receipt], delay_s=0))
        following = await bench.take_one(queue=queue)
        same((following.body, following.attempt), ("a2", 1), "what comes after two deliveries")
        moved = await bench.take_one(queue=dead)
        same((moved.body, moved.group), ("a1", "a"), "body and group of the dead letter")

    @case
    async def test_a_waiting_receive_wakes_when_an_ack_frees_the_group(self, bench: Bench) -> None:
        """Of the last message of the group in flight."""
        queue, head = await _held_head(bench, PLENTY_S)

        async def free() -> None:
            await settled(bench.broker.ack(queue, [head.receipt]))

        same((await bench.woken(free, queue=queue))[0].body, "a2", "what it wakes with")

    @case
    async def test_a_waiting_receive_wakes_when_a_release_frees_the_group(
        self, bench: Bench
    ) -> None:
        """With the head, although others of its group wait too."""
        queue, head = await _held_head(bench, PLENTY_S)

        async def free() -> None:
            await settled(bench.broker.release(queue, [head.receipt], delay_s=0))

        same((await bench.woken(free, queue=queue))[0].body, "a1", "what it wakes with")

    @case
    async def test_a_waiting_receive_wakes_when_the_end_of_a_lease_frees_the_group(
        self, bench: Bench
    ) -> None:
        """With the head, although others of its group wait too."""
        queue, _ = await _held_head(bench, bench.lease_s)
        same((await bench.woken(queue=queue))[0].body, "a1", "what it wakes with")


async def _claim_stale(bench: Bench, queue: str, old: RawDelivery) -> None:
    (answer,) = await bench.broker.ack(queue, [old.receipt])
    if bench.capabilities.detects_stale_receipts:
        claim(isinstance(answer, StaleReceiptError), f"StaleReceiptError, not {answer!r}")


async def _held_head(bench: Bench, lease_s: float) -> tuple[str, RawDelivery]:
    queue = await bench.ordered_queue()
    await put(bench, queue, "a1", "a2")
    return queue, await bench.take_one(queue=queue, lease_s=lease_s)
