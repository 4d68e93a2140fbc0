"""What a lease, its end, its extension and a release promise."""

from __future__ import annotations

from mqtransport.errors import BrokerError, RefusedError
from mqtransport.testing.conformance.bench import Bench, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case


class Leasing:
    """Cases about ``lease_s``, ``extend``, ``release`` and ``delay_s``."""

    @case
    async def test_the_first_attempt_is_one(self, bench: Bench) -> None:
        """It counts this delivery."""
        await bench.send("new")
        same((await bench.take_one()).attempt, 1, "attempt")

    @case
    async def test_a_leased_message_is_hidden(self, bench: Bench) -> None:
        """Nobody else gets it while the lease lasts."""
        await bench.send("held")
        await bench.take_one()
        await bench.claim_nothing_ready("a leased message")

    @case
    async def test_the_end_of_a_lease_redelivers(self, bench: Bench) -> None:
        """With one attempt more, another receipt, and the same id and content."""
        await bench.send("again")
        first = await bench.take_one(lease_s=bench.lease_s)
        await bench.claim_nothing_ready("a leased message")
        await bench.elapse_lease()
        second = await bench.take_one()
        same(second.attempt, 2, "attempt")
        same(second.body, "again", "body")
        same(second.broker_id, first.broker_id, "broker_id")
        same(dict(second.attributes), dict(first.attributes), "attributes")
        claim(second.receipt != first.receipt, "each delivery has a receipt of its own")

    @case
    async def test_an_extension_keeps_it_hidden_beyond_the_first_lease(self, bench: Bench) -> None:
        """The new end counts, not the old one."""
        await bench.send("long work")
        first = await bench.take_one(lease_s=bench.lease_s)
        longer_s = 3 * bench.lease_s + 3 * bench.harness.slack_s
        await settled(bench.broker.extend(bench.queue, [first.receipt], lease_s=longer_s))
        await bench.elapse_lease()
        await bench.claim_nothing_ready("a message whose lease was extended")
        await settled(bench.broker.ack(bench.queue, [first.receipt]))

    @case
    async def test_an_extension_sets_the_end_and_does_not_add(self, bench: Bench) -> None:
        """A long lease extended to a short one ends after the short one."""
        await bench.send("again")
        first = await bench.take_one(lease_s=20 * bench.lease_s)
        await settled(bench.broker.extend(bench.queue, [first.receipt], lease_s=bench.lease_s))
        await bench.claim_nothing_ready("a message under an extended lease")
        await bench.elapse_lease()
        same((await bench.take_one()).attempt, 2, "attempt")

    @case
    async def test_an_extension_of_a_batch_holds_for_each(self, bench: Bench) -> None:
        """Every receipt of the call is extended."""
        await bench.send("a", "b", "c")
        receipts = [d.receipt for d in await bench.take(3, lease_s=2 * bench.lease_s)]
        await settled(bench.broker.extend(bench.queue, receipts, lease_s=60), count=3)
        await bench.elapse_lease(2)
        await bench.claim_nothing_ready("extended messages")

    @case
    async def test_an_extension_beyond_the_longest_lease_is_refused(self, bench: Bench) -> None:
        """``max_lease_s`` counts from the receive; the delivery stays as it was."""
        await bench.send("held")
        first = await bench.take_one()
        too_long_s = bench.capabilities.max_lease_s + 1
        try:
            (answer,) = await bench.broker.extend(bench.queue, [first.receipt], lease_s=too_long_s)
        except BrokerError as error:
            answer = error
        claim(isinstance(answer, RefusedError), f"it is refused, not {answer!r}")
        await bench.claim_nothing_ready("a leased message")
        await settled(bench.broker.ack(bench.queue, [first.receipt]))

    @case
    async def test_a_release_without_delay_redelivers_at_once(self, bench: Bench) -> None:
        """With one attempt more, although the lease was long."""
        await bench.send("again")
        first = await bench.take_one()
        await settled(bench.broker.release(bench.queue, [first.receipt], delay_s=0))
        second = await bench.take_one()
        same((second.attempt, second.body), (2, "again"), "attempt and body")

    @case
    async def test_a_release_with_a_delay_redelivers_after_it(self, bench: Bench) -> None:
        """Hidden until then, delivered soon after."""
        await bench.send("later")
        first = await bench.take_one()
        release = bench.broker.release(bench.queue, [first.receipt], delay_s=bench.lease_s)
        await settled(release)
        await bench.claim_nothing_ready("a message released with a delay")
        await bench.elapse_lease()
        same((await bench.take_one()).attempt, 2, "attempt")

    @case
    async def test_a_release_of_a_batch_gives_back_each(self, bench: Bench) -> None:
        """And none besides."""
        await bench.send("a", "b", "c", "d")
        taken = {d.body: d.receipt for d in await bench.take(4)}
        receipts = [taken[body] for body in ("a", "b", "c")]
        await settled(bench.broker.release(bench.queue, receipts, delay_s=0), count=3)
        same(sorted(d.body for d in await bench.take(3)), ["a", "b", "c"], "bodies")
        await bench.claim_nothing_ready("what was not released")

    @case
    async def test_attempts_count_every_delivery(self, bench: Bench) -> None:
        """1, 2, 3, 4, whatever ended the deliveries before."""
        await bench.send("again")
        attempts = []
        for _ in range(4):
            delivery = await bench.take_one()
            attempts.append(delivery.attempt)
            await settled(bench.broker.release(bench.queue, [delivery.receipt], delay_s=0))
        same(attempts, [1, 2, 3, 4], "attempts")

    @case
    async def test_a_delay_hides_then_delivers(self, bench: Bench) -> None:
        """A delayed message is a first attempt when it comes; one without delay comes at once."""
        await bench.send("late", delay_s=bench.lease_s)
        await bench.send("soon")
        same((await bench.take_one()).body, "soon", "body")
        await bench.claim_nothing_ready("a delayed message")
        await bench.elapse_lease()
        late = await bench.take_one()
        same((late.body, late.attempt), ("late", 1), "body and attempt")
