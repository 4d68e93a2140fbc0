"""What an ordered queue promises when a send or a receive is made again."""

from __future__ import annotations

from mqtransport.message import Outgoing, RawDelivery
from mqtransport.testing.conformance.bench import Bench, confirmed, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.groups import drained, put
from mqtransport.testing.conformance.running import case


class Repeating:
    """Cases about dedup ids and attempt ids, and that standard queues know neither."""

    @case
    async def test_a_duplicate_is_confirmed_with_the_first_id_and_not_delivered(
        self, bench: Bench
    ) -> None:
        """Before the first is delivered, while it is leased, and after it was acked."""
        queue = await bench.ordered_queue()
        first = await _sent(bench, queue, _message(bench, "a1", dedup_id="d"))
        same(await _sent(bench, queue, _message(bench, "a1", dedup_id="d")), first, "its id")
        delivery = await bench.take_one(queue=queue)
        same(delivery.broker_id, first, "broker_id of the delivery")
        same(await _sent(bench, queue, _message(bench, "a1", dedup_id="d")), first, "its id")
        await settled(bench.broker.ack(queue, [delivery.receipt]))
        same(await _sent(bench, queue, _message(bench, "a1", dedup_id="d")), first, "its id")
        await bench.claim_nothing_ready("a duplicate", queue=queue)

    @case
    async def test_a_duplicate_leaves_its_neighbours_alone(self, bench: Bench) -> None:
        """In one batch with the first, and with others."""
        queue = await bench.ordered_queue()
        batch = [
            _message(bench, body, dedup_id=dedup_id)
            for body, dedup_id in (("a1", "d"), ("a1", "d"), ("a2", "e"))
        ]
        one, two, three = confirmed(await bench.broker.send(queue, batch))
        same(two, one, "the duplicate's id")
        claim(three != one, "another message has an id of its own")
        same(await drained(bench, queue, 2), ["a1", "a2"], "what is delivered")
        await bench.claim_nothing_ready("a duplicate", queue=queue)

    @case
    async def test_a_duplicate_in_another_group_is_one_too(self, bench: Bench) -> None:
        """A dedup id counts for the whole queue."""
        queue = await bench.ordered_queue()
        first = await _sent(bench, queue, _message(bench, "a1", dedup_id="d"))
        other = bench.outgoing("a1", delay_s=None, group="b", dedup_id="d")
        same(await _sent(bench, queue, other), first, "its id")
        same(await drained(bench, queue, 1), ["a1"], "what is delivered")
        await bench.claim_nothing_ready("a duplicate", queue=queue)

    @case
    async def test_the_same_dedup_id_on_another_queue_is_no_duplicate(self, bench: Bench) -> None:
        """Each queue remembers its own."""
        queues = [await bench.ordered_queue(), await bench.ordered_queue()]
        ids = [await _sent(bench, queue, _message(bench, "a1", dedup_id="d")) for queue in queues]
        claim(ids[0] != ids[1], "each message has an id of its own")
        for queue in queues:
            same(await drained(bench, queue, 1), ["a1"], "what is delivered")

    @case
    async def test_the_message_id_stands_in_for_a_missing_dedup_id(self, bench: Bench) -> None:
        """So that a send that is made again is a duplicate; another one of the same body is not."""
        queue = await bench.ordered_queue()
        message = _message(bench, "a1")
        first = await _sent(bench, queue, message)
        same(await _sent(bench, queue, message), first, "its id")
        second = await _sent(bench, queue, _message(bench, "a1"))
        claim(second != first, "another message of the same body is no duplicate")
        same(await drained(bench, queue, 2), ["a1", "a1"], "what is delivered")
        await bench.claim_nothing_ready("a duplicate", queue=queue)

    @case
    async def test_a_dedup_id_goes_before_the_message_id(self, bench: Bench) -> None:
        """The same message with another dedup id is wanted twice."""
        queue = await bench.ordered_queue()
        message = _message(bench, "a1", dedup_id="d")
        again = Outgoing(message.id, "a2", message.attributes, None, "a", "e")
        first = await _sent(bench, queue, message)
        claim(await _sent(bench, queue, again) != first, "it is no duplicate")
        same(await drained(bench, queue, 2), ["a1", "a2"], "what is delivered")

    @case
    async def test_a_receive_made_again_brings_the_same_messages(self, bench: Bench) -> None:
        """With the attempt id of the one whose reply was lost; they can be acked."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2", "a3")
        lost = await bench.poll(queue=queue, max_messages=2, wait_s=1, attempt_id="one")
        claim(bool(lost), "a group that is free is delivered")
        again = await bench.poll(queue=queue, max_messages=2, wait_s=1, attempt_id="one")
        same([d.broker_id for d in again], [d.broker_id for d in lost], "the messages")
        same([d.body for d in again], [d.body for d in lost], "their bodies")
        receipts = [d.receipt for d in again]
        await settled(bench.broker.ack(queue, receipts), count=len(again))
        left = ["a1", "a2", "a3"][len(again) :]
        same(await drained(bench, queue, len(left)), left, "what was not acked")

    @case
    async def test_a_receive_with_another_attempt_id_is_another_receive(self, bench: Bench) -> None:
        """It brings nothing of a group in flight, but does bring other groups."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        await bench.poll(queue=queue, max_messages=1, wait_s=1, attempt_id="one")
        same(await bench.poll(queue=queue, attempt_id="two"), [], "of a group in flight")
        await bench.claim_nothing_ready("a group in flight", queue=queue)
        await put(bench, queue, "b1")
        other = await bench.poll(queue=queue, wait_s=1, attempt_id="two")
        same([d.body for d in other], ["b1"], "what another attempt brings")

    @case
    async def test_a_receive_made_again_sets_the_leases_anew(self, bench: Bench) -> None:
        """They end after the new time, not after the old one."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1")
        for leases in (1, 40):
            lease_s = leases * (bench.lease_s + bench.harness.slack_s)
            got = await bench.poll(
                queue=queue, max_messages=1, wait_s=1, lease_s=lease_s, attempt_id="one"
            )
            same([d.body for d in got], ["a1"], f"under a lease of {lease_s} s")
        await bench.elapse_lease(2)
        await bench.claim_nothing_ready("a message whose lease was set anew", queue=queue)

    @case
    async def test_a_receive_is_not_made_again_after_a_settle(self, bench: Bench) -> None:
        """Once a message of it was acked or released, its attempt id brings what is there."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        for verb, body, attempt in (("release", "a1", 1), ("ack", "a1", 2), ("ack", "a2", 1)):
            got = await bench.poll(queue=queue, max_messages=1, wait_s=1, attempt_id="one")
            same([(d.body, d.attempt) for d in got], [(body, attempt)], "body and attempt")
            receipts = [d.receipt for d in got]
            if verb == "ack":
                await settled(bench.broker.ack(queue, receipts))
            else:
                await settled(bench.broker.release(queue, receipts, delay_s=0))
        same(await bench.poll(queue=queue, attempt_id="one"), [], "an empty queue")

    @case
    async def test_a_standard_queue_blocks_no_group_and_drops_no_duplicate(
        self, bench: Bench
    ) -> None:
        """There a group is a mere hint, and dedup ids and attempt ids mean nothing."""
        batch = [bench.outgoing(body, group="a", dedup_id="d") for body in ("a1", "a2", "a3")]
        ids = confirmed(await bench.broker.send(bench.queue, batch))
        same(len(set(ids)), 3, "ids")
        taken: list[RawDelivery] = []
        for _ in range(9):
            if len(taken) < 3:
                taken += await bench.poll(max_messages=1, wait_s=1, attempt_id="one")
        same(sorted(d.body for d in taken), ["a1", "a2", "a3"], "bodies, one by one")


def _message(bench: Bench, body: str, *, dedup_id: str | None = None) -> Outgoing:
    return bench.outgoing(body, delay_s=None, group=body[0], dedup_id=dedup_id)


async def _sent(bench: Bench, queue: str, message: Outgoing) -> str:
    return confirmed(await bench.broker.send(queue, [message]))[0]
