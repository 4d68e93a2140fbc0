"""What an ordered queue promises about the order within a group, and beside other groups."""

from __future__ import annotations

import asyncio

from mqtransport.broker import QueueOptions
from mqtransport.errors import RefusedError
from mqtransport.testing.conformance.bench import Bench, confirmed, refusal, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.groups import drained, polled, put
from mqtransport.testing.conformance.running import case


class Ordering:
    """Cases about the order of deliveries, and about what an ordered queue takes."""

    @case
    async def test_a_group_comes_in_the_order_of_its_sends(self, bench: Bench) -> None:
        """Over many sends, between which those of another group lie."""
        queue = await bench.ordered_queue()
        for n in range(12):
            await put(bench, queue, f"a{n}")
            await put(bench, queue, f"b{n}")
        got = await drained(bench, queue, 24)
        for group in "ab":
            mine = [body for body in got if body.startswith(group)]
            same(mine, [f"{group}{n}" for n in range(12)], f"the order of group {group}")

    @case
    async def test_a_batch_keeps_its_order(self, bench: Bench) -> None:
        """The items of one send are a sequence, whatever is sent after it."""
        queue = await bench.ordered_queue()
        most = bench.capabilities.max_batch
        for start in (0, most):
            await put(bench, queue, *(f"a{n}" for n in range(start, start + most)))
        same(await drained(bench, queue, 2 * most), [f"a{n}" for n in range(2 * most)], "the order")

    @case
    async def test_a_group_in_flight_is_hidden_and_other_groups_are_not(self, bench: Bench) -> None:
        """Also what is sent to it while it is in flight."""
        queue = await bench.ordered_queue()
        await put(bench, queue, "a1", "a2")
        same((await bench.take_one(queue=queue)).body, "a1", "the head")
        await put(bench, queue, "b1", "a3")
        same((await bench.take_one(queue=queue)).body, "b1", "what is delivered")
        await bench.claim_nothing_ready("of two groups in flight", queue=queue)

    @case
    async def test_what_one_receive_brings_of_a_group_is_in_order(self, bench: Bench) -> None:
        """It may bring several, without a gap; the rest is then hidden."""
        queue = await bench.ordered_queue()
        bodies = [f"a{n}" for n in range(6)]
        await put(bench, queue, *bodies)
        got = [d.body for d in await polled(bench, queue, most=4)]
        claim(1 <= len(got) <= 4, f"1 to 4 messages, not {len(got)}")
        same(got, bodies[: len(got)], "what one receive brings")
        await bench.claim_nothing_ready("the rest of a group in flight", queue=queue)

    @case
    async def test_competing_receivers_see_each_group_in_order(self, bench: Bench) -> None:
        """And never hold messages of one group at the same time."""
        queue = await bench.ordered_queue()
        for start in (0, 3):
            for group in "abc":
                await put(bench, queue, *(f"{group}{n}" for n in range(start, start + 3)))
        seen: dict[str, list[str]] = {group: [] for group in "abc"}
        held: set[str] = set()

        async def receiver() -> None:
            # Bounded by polls, not by time: a broken broker may answer without ever waiting.
            for _ in range(36):
                if sum(map(len, seen.values())) >= 18:
                    return
                got = await bench.poll(queue=queue, max_messages=2, wait_s=1)
                groups = {d.body[0] for d in got}
                claim(not groups & held, f"no receive brings of a group in flight: {groups & held}")
                held.update(groups)
                for one in got:
                    seen[one.body[0]].append(one.body)
                await asyncio.sleep(0)
                if got:
                    receipts = [d.receipt for d in got]
                    # Before the ack: what it frees may be delivered before it is confirmed.
                    held.difference_update(groups)
                    await settled(bench.broker.ack(queue, receipts), count=len(got))

        await asyncio.gather(*(receiver() for _ in range(4)))
        for group, bodies in seen.items():
            same(bodies, [f"{group}{n}" for n in range(6)], f"the order of group {group}")

    @case
    async def test_groups_come_back_on_the_delivery(self, bench: Bench) -> None:
        """As they were sent, on every attempt."""
        queue = await bench.ordered_queue()
        group = "tenant/42:a.b_c-D"
        message = bench.outgoing("x", delay_s=None, group=group)
        confirmed(await bench.broker.send(queue, [message]))
        for _ in range(2):
            delivery = await bench.take_one(queue=queue)
            same(delivery.group, group, "group")
            await settled(bench.broker.release(queue, [delivery.receipt], delay_s=0))

    @case
    async def test_a_message_without_a_group_is_refused_alone(self, bench: Bench) -> None:
        """An ordered queue takes none; its neighbours keep their order."""
        queue = await bench.ordered_queue()
        await _claim_refused_alone(bench, queue, group=None, delay_s=None)

    @case
    async def test_a_message_with_a_delay_is_refused_alone(self, bench: Bench) -> None:
        """It would let others overtake it; its neighbours keep their order."""
        queue = await bench.ordered_queue()
        await _claim_refused_alone(bench, queue, group="a", delay_s=1.0)

    @case
    async def test_a_dead_letter_queue_of_the_other_kind_is_refused(self, bench: Bench) -> None:
        """An ordered queue's has to be ordered, a standard queue's standard."""
        ordered, standard = await bench.ordered_queue(), await bench.new_queue()
        plain = bench.harness.queue_name()
        for queue, dead in ((f"{plain}.fifo", standard), (plain, ordered)):
            call = bench.broker.declare(queue, QueueOptions(dead_letter_queue=dead))
            await refusal(call, RefusedError, f"{queue!r} with the dead letter queue {dead!r}")


async def _claim_refused_alone(
    bench: Bench, queue: str, *, group: str | None, delay_s: float | None
) -> None:
    bad = bench.outgoing("bad", delay_s=delay_s, group=group)
    batch = [bench.outgoing(body, delay_s=None, group="a") for body in ("a1", "a2")]
    answers = await bench.broker.send(queue, [batch[0], bad, batch[1]])
    same(len(answers), 3, "answers of send")
    confirmed([answers[0], answers[2]])
    claim(isinstance(answers[1], RefusedError), f"it is refused, not {answers[1]!r}")
    same(await drained(bench, queue, 2), ["a1", "a2"], "what is delivered")
    await bench.claim_nothing_ready("a refused message", queue=queue)
