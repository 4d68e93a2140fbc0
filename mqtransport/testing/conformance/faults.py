"""What a driver promises when its broker misbehaves; needs the harness's fault hooks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

from mqtransport.broker import QueueOptions
from mqtransport.errors import BrokerError, BrokerUnavailableError, ThrottledError
from mqtransport.message import RawDelivery
from mqtransport.testing.conformance.bench import (
    PLENTY_S,
    Bench,
    Call,
    every_verb,
    listing_verbs,
    settled,
)
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case


class Faults:
    """Cases about partial failure, throttling, dead and hanging links, and nonsense."""

    @case
    async def test_a_refused_message_is_reported_alone(self, bench: Bench) -> None:
        """The broker's partial failure of a send fails one item, in its place."""
        batch = [bench.outgoing(f"m{n}") for n in range(4)]
        async with bench.hooks().refuse_one_entry("send"):
            answers = await bench.broker.send(bench.queue, batch)
        refused = _the_one_error(answers)
        wanted = {batch[n].body: answer for n, answer in enumerate(answers) if n != refused}
        taken = await bench.take(3)
        same({d.body: d.broker_id for d in taken}, wanted, "id by body of the neighbours")
        await bench.claim_nothing_ready("the refused message")

    @case
    async def test_a_refused_ack_is_reported_alone(self, bench: Bench) -> None:
        """What was not deleted is not reported as deleted: it comes back."""
        taken = await _four_taken(bench, lease_s=2 * bench.lease_s)
        refused = await _refused_receipt(bench, "ack", taken)
        await bench.elapse_lease(2)
        same((await bench.take_one()).body, refused.body, "the message whose ack was refused")
        await bench.claim_nothing_ready("acked messages")

    @case
    async def test_a_refused_release_is_reported_alone(self, bench: Bench) -> None:
        """What was not released stays leased."""
        taken = await _four_taken(bench)
        refused = await _refused_receipt(bench, "release", taken)
        wanted = sorted(d.body for d in taken if d is not refused)
        same(sorted(d.body for d in await bench.take(3)), wanted, "released messages")
        await bench.claim_nothing_ready("the message whose release was refused")

    @case
    async def test_a_refused_extension_is_reported_alone(self, bench: Bench) -> None:
        """What was not extended comes back when its lease ends."""
        taken = await _four_taken(bench, lease_s=2 * bench.lease_s)
        refused = await _refused_receipt(bench, "extend", taken)
        await bench.elapse_lease(2)
        same((await bench.take_one()).body, refused.body, "the message that was not extended")
        await bench.claim_nothing_ready("extended messages")

    @case
    async def test_throttling_is_reported_as_such(self, bench: Bench) -> None:
        """ThrottledError from every verb, raised or for each item; nothing was carried out."""
        delivery = await _one_taken(bench)
        async with bench.hooks().throttled():
            errors = await _errors(every_verb(bench.broker, bench.queue, delivery.receipt))
            errors |= await _errors({"ping": lambda: bench.broker.ping([bench.queue])})
        for verb, error in errors.items():
            claim(isinstance(error, ThrottledError), f"{verb}: ThrottledError, not {error!r}")
        await _claim_works_and_holds_only(bench, delivery)

    @case
    async def test_an_unreachable_broker_is_reported_in_time(self, bench: Bench) -> None:
        """BrokerUnavailableError from every verb within ``timeout_s``; then it works again."""
        delivery = await _one_taken(bench)
        async with bench.hooks().unreachable():
            before = bench.now()
            errors = await _errors(every_verb(bench.broker, bench.queue, delivery.receipt))
            errors |= await _errors({"ping": lambda: bench.broker.ping([bench.queue])})
            _claim_in_time(bench, before, calls=2)
        _claim_unavailable(errors)
        await _claim_works_and_holds_only(bench, delivery)

    @case
    async def test_a_hanging_broker_is_reported_in_time(self, bench: Bench) -> None:
        """BrokerUnavailableError from every verb within ``timeout_s``; then it works again."""
        delivery = await _one_taken(bench)
        async with bench.hooks().hanging():
            before = bench.now()
            errors = await _errors(every_verb(bench.broker, bench.queue, delivery.receipt))
            errors |= await _errors({"ping": lambda: bench.broker.ping([bench.queue])})
            _claim_in_time(bench, before, calls=2)
        _claim_unavailable(errors)
        claim(errors["send"].maybe_done, "a send that was not answered may have been carried out")
        await bench.send("after the fault", queue=await bench.new_queue())

    @case
    async def test_a_hanging_receive_ends_after_its_wait_and_the_timeout(
        self, bench: Bench
    ) -> None:
        """The wait is no time-out, and the time-out does not cut the wait."""
        async with bench.hooks().hanging():
            before = bench.now()
            errors = await _errors({"receive": lambda: bench.poll(wait_s=2)})
            took = bench.now() - before
        _claim_unavailable(errors)
        most = 2 + bench.broker.timeout_s + bench.harness.slack_s
        claim(1.9 <= took <= most, f"it ends after 2 s and within {most} s, not {took:.3f} s")

    @case
    async def test_closing_under_a_dead_link_raises_nothing(self, bench: Bench) -> None:
        """And it does not hang."""
        hooks = bench.hooks()
        for fault in (hooks.unreachable, hooks.hanging):
            broker = bench.harness.make_broker()
            await broker.connect()
            await broker.declare(bench.queue, QueueOptions())
            async with fault():
                before = bench.now()
                await broker.aclose()
                _claim_in_time(bench, before, calls=1)

    @case
    async def test_a_garbage_reply_confirms_nothing(self, bench: Bench) -> None:
        """A success whose content makes no sense is BrokerUnavailableError, for every verb."""
        delivery = await _one_taken(bench)
        async with bench.hooks().garbage_reply():
            errors = await _errors(every_verb(bench.broker, bench.queue, delivery.receipt))
        _claim_unavailable(errors)
        claim(errors["send"].maybe_done, "the message may be in the queue")
        await bench.send("after the fault", queue=await bench.new_queue())

    @case
    async def test_no_fault_lasts_longer_than_itself(self, bench: Bench) -> None:
        """The same broker object works after each fault, without a new connect."""
        hooks = bench.hooks()
        faults: list[AbstractAsyncContextManager[None]] = [
            hooks.throttled(),
            hooks.unreachable(),
            hooks.garbage_reply(),
            hooks.hanging(),
        ]
        for number, fault in enumerate(faults):
            queue = await bench.new_queue()
            async with fault:
                await _errors({"describe": partial(bench.broker.describe, queue)})
            await bench.send(f"after {number}", queue=queue)
            delivery = await bench.take_one(queue=queue)
            same(delivery.body, f"after {number}", "body")
            await settled(bench.broker.ack(queue, [delivery.receipt]))


def _the_one_error(answers: Sequence[Any]) -> int:
    failed = [n for n, answer in enumerate(answers) if isinstance(answer, BrokerError)]
    same((len(answers), len(failed)), (4, 1), "answers, and errors among them")
    return failed[0]


async def _four_taken(bench: Bench, lease_s: float = PLENTY_S) -> list[RawDelivery]:
    await bench.send("m0", "m1", "m2", "m3")
    return await bench.take(4, lease_s=lease_s)


async def _refused_receipt(bench: Bench, verb: Any, taken: Sequence[RawDelivery]) -> RawDelivery:
    """Settle four deliveries, one of which the broker refuses; return that one."""
    calls = listing_verbs(bench.broker, bench.queue, [], [d.receipt for d in taken])
    async with bench.hooks().refuse_one_entry(verb):
        answers = await calls[verb]()
    return taken[_the_one_error(answers)]


async def _one_taken(bench: Bench) -> RawDelivery:
    bench.hooks()
    await bench.send("held")
    return await bench.take_one()


async def _errors(calls: dict[str, Call]) -> dict[str, BrokerError]:
    """Make the calls at once; each must fail, as a whole or in each item."""

    async def error_of(verb: str, call: Call) -> BrokerError:
        try:
            answer = await call()
        except BrokerError as error:
            return error
        if isinstance(answer, list) and answer and isinstance(answer[0], BrokerError):
            return answer[0]
        raise AssertionError(f"{verb} under the fault: expected an error, got {answer!r}")

    errors = await asyncio.gather(*(error_of(verb, call) for verb, call in calls.items()))
    return dict(zip(calls, errors, strict=True))


def _claim_unavailable(errors: dict[str, BrokerError]) -> None:
    for verb, error in errors.items():
        claim(
            isinstance(error, BrokerUnavailableError),
            f"{verb}: BrokerUnavailableError, not {error!r}",
        )


def _claim_in_time(bench: Bench, before: float, *, calls: int) -> None:
    took = bench.now() - before
    most = calls * (bench.broker.timeout_s + bench.harness.slack_s)
    claim(took <= most, f"{calls} calls end within {most} s, not {took:.3f} s")


async def _claim_works_and_holds_only(bench: Bench, delivery: RawDelivery) -> None:
    """Claim that the fault is over and that none of the calls under it was carried out."""
    await bench.claim_nothing_ready("messages of calls that failed")
    await settled(bench.broker.ack(bench.queue, [delivery.receipt]))
