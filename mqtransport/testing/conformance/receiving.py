"""What a receive promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mqtransport.errors import RefusedError
from mqtransport.message import RawDelivery
from mqtransport.testing.conformance.bench import PLENTY_S, Bench, refusal, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case

# Stamps may be this far from the harness's clock: emulators round, and start late.
PLAUSIBLE_S = 120.0


class Receiving:
    """Cases about ``receive``."""

    @case
    async def test_a_receive_returns_at_most_max_messages(self, bench: Bench) -> None:
        """And at least one, if there is one."""
        await bench.send(*(f"m{n}" for n in range(5)))
        for most in (1, 2):
            got = len(await bench.poll(max_messages=most, wait_s=1))
            claim(1 <= got <= most, f"1 to {most} messages, not {got}")

    @case
    async def test_an_empty_receive_returns_nothing_and_only_after_wait_s(
        self, bench: Bench
    ) -> None:
        """It returns ``[]``, raises nothing, and really waits."""
        before = bench.now()
        same(await bench.poll(wait_s=1), [], "an empty queue")
        waited = bench.now() - before
        claim(waited >= 0.9, f"it waits 1 s, not {waited:.3f} s")
        claim(waited <= 1 + bench.broker.timeout_s, f"it waits 1 s, not {waited:.3f} s")

    @case
    async def test_a_receive_without_wait_returns_at_once(self, bench: Bench) -> None:
        """``wait_s=0`` on an empty queue does not wait."""
        before = bench.now()
        same(await bench.poll(wait_s=0), [], "an empty queue")
        waited = bench.now() - before
        claim(waited <= bench.broker.timeout_s, f"it does not wait, not even {waited:.3f} s")

    @case
    async def test_a_waiting_receive_wakes_on_arrival(self, bench: Bench) -> None:
        """A send reaches a receive that is already waiting."""

        async def arrive() -> None:
            await bench.send("news")

        same((await _woken(bench, arrive)).body, "news", "body")

    @case
    async def test_a_waiting_receive_wakes_when_a_delay_ends(self, bench: Bench) -> None:
        """A delayed message reaches a receive that is already waiting."""
        await bench.send("late", delay_s=bench.lease_s)
        same((await _woken(bench)).body, "late", "body")

    @case
    async def test_a_waiting_receive_wakes_when_a_message_is_delayed_anew(
        self, bench: Bench
    ) -> None:
        """A delay that begins during the wait ends during the wait."""

        async def arrive() -> None:
            await bench.send("late", delay_s=bench.lease_s)

        same((await _woken(bench, arrive)).body, "late", "body")

    @case
    async def test_a_waiting_receive_wakes_when_a_lease_ends(self, bench: Bench) -> None:
        """An abandoned delivery reaches a receive that is already waiting."""
        await bench.send("again")
        await bench.take_one(lease_s=bench.lease_s)
        same((await _woken(bench)).attempt, 2, "attempt")

    @case
    async def test_a_waiting_receive_wakes_on_release(self, bench: Bench) -> None:
        """A released delivery reaches a receive that is already waiting."""
        await bench.send("again")
        first = await bench.take_one()

        async def give_back() -> None:
            await settled(bench.broker.release(bench.queue, [first.receipt], delay_s=0))

        same((await _woken(bench, give_back)).attempt, 2, "attempt")

    @case
    async def test_a_message_reaches_another_waiting_receive_when_one_is_cancelled(
        self, bench: Bench
    ) -> None:
        """A cancelled receive does not take the wake-up with it."""
        bench.need(bench.capabilities.receive_cancellable, "receive is not cancellable")
        wait_s = bench.capabilities.max_wait_s
        waiting = [asyncio.create_task(bench.poll(wait_s=wait_s)) for _ in range(3)]
        await bench.harness.elapse(0.5)
        await bench.send("one")
        waiting[0].cancel()
        before = bench.now()
        done, pending = await asyncio.wait(waiting[1:], return_when=asyncio.FIRST_COMPLETED)
        bench.claim_woken(before, wait_s)
        same([d.body for task in done for d in task.result()], ["one"], "the message")
        await _cancel(*pending, waiting[0])

    @case
    async def test_competing_receivers_share_without_overlap(self, bench: Bench) -> None:
        """Each message goes to one of them."""
        bodies = [f"m{n}" for n in range(bench.capabilities.max_batch)]
        await bench.send(*bodies)
        taken: list[RawDelivery] = []

        async def receiver() -> None:
            while got := await bench.poll(max_messages=2, wait_s=1):
                taken.extend(got)

        await asyncio.gather(*(receiver() for _ in range(3)))
        same(sorted(d.body for d in taken), sorted(bodies), "bodies, each once")

    @case
    async def test_queues_are_isolated(self, bench: Bench) -> None:
        """A message is delivered from its own queue only."""
        other = await bench.new_queue()
        await bench.send("mine")
        await bench.claim_nothing_ready("on another queue", queue=other)
        await bench.send("theirs", queue=other)
        same((await bench.take_one()).body, "mine", "body")
        same((await bench.take_one(queue=other)).body, "theirs", "body")

    @case
    async def test_a_cancelled_receive_loses_nothing(self, bench: Bench) -> None:
        """What is sent after the cancel is delivered: at once, or after one lease."""
        waiting = asyncio.create_task(bench.poll(wait_s=5, lease_s=bench.lease_s))
        await bench.harness.elapse(0.3)
        await _cancel(waiting)
        await bench.send("kept")
        if not bench.capabilities.receive_cancellable:
            # The abandoned receive may have taken it, at worst now.
            await bench.elapse_lease()
        got = await bench.poll(wait_s=min(2, bench.capabilities.max_wait_s))
        same([d.body for d in got], ["kept"], "the message")
        if bench.capabilities.receive_cancellable:
            same(got[0].attempt, 1, "attempt: the cancelled receive took nothing")

    @case
    async def test_receives_cancelled_at_any_moment_hide_nothing(self, bench: Bench) -> None:
        """A receive that is cancelled while messages arrive has taken none of them."""
        bench.need(bench.capabilities.receive_cancellable, "receive is not cancellable")
        for steps in range(8):
            body = f"m{steps}"
            waiting = asyncio.create_task(bench.poll(wait_s=5))
            await bench.harness.elapse(0.1)
            await bench.send(body)
            for _ in range(steps):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            got = await bench.poll(wait_s=1) if waiting.cancelled() else waiting.result()
            same([(d.body, d.attempt) for d in got], [(body, 1)], f"cancelled after {steps} steps")

    @case
    async def test_fifty_sends_and_receives_at_once_lose_nothing(self, bench: Bench) -> None:
        """Every verb may run concurrently with every other on one broker object."""
        bodies = {f"m{n}" for n in range(50)}
        acked: list[str] = []

        async def receiver() -> None:
            # Bounded by polls, not by time: a broken broker may answer without ever waiting.
            for _ in range(2 * len(bodies)):
                got = [] if len(acked) >= len(bodies) else await bench.poll(wait_s=1)
                if got:
                    receipts = [d.receipt for d in got]
                    await settled(bench.broker.ack(bench.queue, receipts), count=len(got))
                    acked.extend(d.body for d in got)

        await asyncio.gather(
            *(bench.send(body) for body in sorted(bodies)), *(receiver() for _ in range(5))
        )
        same(set(acked), bodies, "bodies handled")

    @case
    async def test_a_receive_outside_its_ranges_is_refused(self, bench: Bench) -> None:
        """Arguments that the contract does not allow raise RefusedError, and take nothing."""
        await bench.send("kept")
        limits, broker, queue = bench.capabilities, bench.broker, bench.queue
        for most, wait_s, lease_s in (
            (0, 0.0, PLENTY_S),
            (limits.max_batch + 1, 0.0, PLENTY_S),
            (1, limits.max_wait_s + 1, PLENTY_S),
            (1, -1.0, PLENTY_S),
            (1, 0.0, 0.0),
            (1, 0.0, limits.max_lease_s + 1),
        ):
            call = broker.receive(queue, max_messages=most, wait_s=wait_s, lease_s=lease_s)
            why = f"max_messages={most}, wait_s={wait_s}, lease_s={lease_s}"
            await refusal(call, RefusedError, why)
        same((await bench.take_one()).attempt, 1, "attempt: the refused calls took nothing")

    @case
    async def test_stamps_are_plausible_and_kept(self, bench: Bench) -> None:
        """``sent_at`` and ``first_received_at`` are Unix seconds; a redelivery keeps both."""
        now = bench.harness.wall_time()
        await bench.send("stamped")
        first = await bench.take_one()
        await settled(bench.broker.release(bench.queue, [first.receipt], delay_s=0))
        second = await bench.take_one()
        for name in ("sent_at", "first_received_at"):
            stamp = getattr(first, name)
            if stamp is not None:
                claim(abs(stamp - now) < PLAUSIBLE_S, f"{name} is near {now:.0f}, not {stamp}")
                same(getattr(second, name), stamp, f"{name} of the redelivery")
        if first.sent_at is not None and first.first_received_at is not None:
            claim(first.sent_at <= first.first_received_at, "sent before it was received")
        same(second.broker_id, first.broker_id, "broker_id of the redelivery")


async def _woken(bench: Bench, arrive: Callable[[], Awaitable[None]] | None = None) -> RawDelivery:
    got = await bench.woken(arrive)
    same(len(got), 1, "messages delivered")
    return got[0]


async def _cancel(*tasks: asyncio.Task[list[RawDelivery]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
