"""What an ack promises, and what happens to a delivery that is no longer ours."""

from __future__ import annotations

from collections.abc import Sequence

from mqtransport.broker import QueueOptions
from mqtransport.errors import BrokerError, StaleReceiptError
from mqtransport.message import Attribute, RawDelivery
from mqtransport.testing.conformance.bench import Bench, confirmed, listing_verbs, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case


class Settling:
    """Cases about ``ack``, receipts, and the broker's own dead-lettering."""

    @case
    async def test_an_ack_removes_the_message_for_good(self, bench: Bench) -> None:
        """It does not come back when its lease would have ended."""
        await bench.send("done")
        first = await bench.take_one(lease_s=bench.lease_s)
        await settled(bench.broker.ack(bench.queue, [first.receipt]))
        await bench.elapse_lease()
        await bench.claim_nothing_ready("an acked message")

    @case
    async def test_an_ack_of_a_batch_removes_each_and_none_besides(self, bench: Bench) -> None:
        """What was not in the call comes back."""
        await bench.send("a", "b", "c")
        taken = {d.body: d.receipt for d in await bench.take(3, lease_s=2 * bench.lease_s)}
        await settled(bench.broker.ack(bench.queue, [taken["a"], taken["c"]]), count=2)
        await bench.elapse_lease(2)
        same((await bench.take_one()).body, "b", "the message that was not acked")
        await bench.claim_nothing_ready("acked messages")

    @case
    async def test_acking_twice_is_fine(self, bench: Bench) -> None:
        """A retry after a lost reply is confirmed too."""
        await bench.send("done")
        first = await bench.take_one()
        for _ in range(2):
            await settled(bench.broker.ack(bench.queue, [first.receipt]))
        await bench.claim_nothing_ready("an acked message")

    @case
    async def test_a_stale_ack_leaves_the_message_to_its_new_holder(self, bench: Bench) -> None:
        """After the lease ended and somebody else got it, only they can settle it."""
        await bench.send("shared")
        old = await bench.take_one(lease_s=bench.lease_s)
        await bench.elapse_lease()
        new = await bench.take_one()
        _check_stale(bench, await bench.broker.ack(bench.queue, [old.receipt]))
        await _claim_still_held(bench, new)

    @case
    async def test_a_stale_release_or_extension_does_not_disturb_the_new_holder(
        self, bench: Bench
    ) -> None:
        """The old receipt cannot show the message, nor end the new lease."""
        await bench.send("shared")
        old = await bench.take_one()
        await settled(bench.broker.release(bench.queue, [old.receipt], delay_s=0))
        new = await bench.take_one()
        release = await bench.broker.release(bench.queue, [old.receipt], delay_s=0)
        _check_stale(bench, release)
        await bench.claim_nothing_ready("a message that somebody else holds")
        extend = await bench.broker.extend(bench.queue, [old.receipt], lease_s=bench.lease_s)
        _check_stale(bench, extend)
        await bench.elapse_lease()
        await bench.claim_nothing_ready("a message that somebody else holds")
        await settled(bench.broker.ack(bench.queue, [new.receipt]))

    @case
    async def test_a_settled_delivery_can_be_neither_released_nor_extended(
        self, bench: Bench
    ) -> None:
        """An acked message does not come back."""
        await bench.send("done")
        first = await bench.take_one()
        await settled(bench.broker.ack(bench.queue, [first.receipt]))
        release = await bench.broker.release(bench.queue, [first.receipt], delay_s=0)
        extend = await bench.broker.extend(bench.queue, [first.receipt], lease_s=bench.lease_s)
        _check_stale(bench, release)
        _check_stale(bench, extend)
        await bench.claim_nothing_ready("an acked message")

    @case
    async def test_one_bad_receipt_among_good_ones_fails_alone(self, bench: Bench) -> None:
        """In its place, for ack, release and extend alike."""
        await bench.send("a", "b")
        for verb in ("extend", "release", "ack"):
            one, two = [d.receipt for d in await bench.take(2)]
            receipts = [one, "no-such-receipt", two]
            calls = listing_verbs(bench.broker, bench.queue, [], receipts)
            answers = await calls[verb]()
            same(len(answers), 3, f"answers of {verb}")
            same([answers[0], answers[2]], [None, None], f"good receipts of {verb}")
            claim(isinstance(answers[1], BrokerError), f"{verb}: an error, not {answers[1]!r}")
            if verb == "extend":
                await settled(bench.broker.release(bench.queue, [one, two], delay_s=0), count=2)
        await bench.claim_nothing_ready("acked messages")

    @case
    async def test_the_brokers_own_dead_lettering_keeps_body_and_attributes(
        self, bench: Bench
    ) -> None:
        """After ``max_receive_count`` deliveries the message is on the dead letter queue."""
        dead = await bench.new_queue()
        options = QueueOptions(dead_letter_queue=dead, max_receive_count=2)
        queue = await bench.new_queue(options)
        attributes = {"Name": Attribute("String", "poison"), "B": Attribute("Binary", b"\x00\xff")}
        confirmed(await bench.broker.send(queue, [bench.outgoing('{"n": 1}', attributes)]))
        for attempt in (1, 2):
            delivery = await bench.take_one(queue=queue)
            same(delivery.attempt, attempt, "attempt")
            await settled(bench.broker.release(queue, [delivery.receipt], delay_s=0))
        same(await bench.poll(queue=queue, wait_s=1), [], "the third delivery")
        moved = await bench.take_one(queue=dead)
        same(moved.body, '{"n": 1}', "body")
        same(dict(moved.attributes), attributes, "attributes")

    @case
    async def test_dead_lettering_takes_only_what_was_delivered_too_often(
        self, bench: Bench
    ) -> None:
        """Its neighbours are delivered; a missing dead letter queue comes into being."""
        dead = bench.harness.queue_name()
        queue = await bench.new_queue(QueueOptions(dead_letter_queue=dead, max_receive_count=1))
        await bench.send("poison", queue=queue)
        delivery = await bench.take_one(queue=queue)
        await settled(bench.broker.release(queue, [delivery.receipt], delay_s=0))
        await bench.send("good", queue=queue)
        same((await bench.take_one(queue=queue)).body, "good", "what is delivered")
        same((await bench.take_one(queue=dead)).body, "poison", "what is dead-lettered")


def _check_stale(bench: Bench, answers: Sequence[BrokerError | None]) -> None:
    same(len(answers), 1, "answers")
    if bench.capabilities.detects_stale_receipts:
        claim(
            isinstance(answers[0], StaleReceiptError),
            f"a stale receipt is refused with StaleReceiptError, not {answers[0]!r}",
        )


async def _claim_still_held(bench: Bench, holder: RawDelivery) -> None:
    """Claim that the message is still there, and its holder's to settle."""
    await bench.claim_nothing_ready("a message that somebody else holds")
    await settled(bench.broker.release(bench.queue, [holder.receipt], delay_s=0))
    again = await bench.take_one()
    same((again.broker_id, again.attempt), (holder.broker_id, holder.attempt + 1), "the message")
    await settled(bench.broker.ack(bench.queue, [again.receipt]))
