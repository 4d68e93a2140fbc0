"""Connecting and closing, making and describing queues, ping."""

from __future__ import annotations

import asyncio

from mqtransport.broker import Broker, QueueOptions
from mqtransport.errors import ClosedError, QueueNotFoundError
from mqtransport.testing.conformance.bench import Bench, every_verb, refusal, settled
from mqtransport.testing.conformance.checks import claim, same
from mqtransport.testing.conformance.running import case


class Lifecycle:
    """Cases about ``connect``, ``aclose``, ``ping``, ``declare`` and ``describe``."""

    @case
    async def test_declaring_twice_keeps_the_messages(self, bench: Bench) -> None:
        """It is no error either."""
        queue = await bench.new_queue()
        await bench.send("kept", queue=queue)
        await bench.broker.declare(queue, QueueOptions())
        same((await bench.take_one(queue=queue)).body, "kept", "body")

    @case
    async def test_a_missing_queue_is_reported_by_every_verb(self, bench: Bench) -> None:
        """QueueNotFoundError, with the queue, and no queue comes of it."""
        bench.need(not bench.capabilities.creates_queues, "queues come into being on first use")
        missing = bench.harness.queue_name()
        for _ in range(2):
            for verb, call in every_verb(bench.broker, missing, "no-such-receipt").items():
                error = await refusal(call(), QueueNotFoundError, f"{verb} on a missing queue")
                same(error.queue, missing, f"queue of the error of {verb}")

    @case
    async def test_queues_come_into_being_on_first_use(self, bench: Bench) -> None:
        """A receive, a description or a send needs no declaration."""
        bench.need(bench.capabilities.creates_queues, "queues have to be declared")
        queue = bench.harness.queue_name()
        await bench.claim_nothing_ready("a queue of which nobody has heard", queue=queue)
        other = bench.harness.queue_name()
        same((await bench.broker.describe(other)).depth or 0, 0, "depth")
        third = bench.harness.queue_name()
        await bench.send("first", queue=third)
        same((await bench.take_one(queue=third)).body, "first", "body")

    @case
    async def test_describe_tells_the_limit_and_the_counts(self, bench: Bench) -> None:
        """What it tells is true; what it may not tell is None."""
        queue = await bench.new_queue()
        await bench.send("a", "b", "c", queue=queue)
        await bench.send("late", queue=queue, delay_s=60)
        await bench.take_one(queue=queue)
        info = await bench.broker.describe(queue)
        claim(info.depth in (2, None), f"depth is 2, not {info.depth}")
        claim(info.in_flight in (1, None), f"in_flight is 1, not {info.in_flight}")
        claim(info.delayed in (1, None), f"delayed is 1, not {info.delayed}")
        limit = info.max_message_bytes
        most = bench.capabilities.max_message_bytes
        claim(limit is None or 0 < limit <= most, f"a limit of 1 to {most} bytes, not {limit}")

    @case
    async def test_describe_tells_how_the_queue_was_declared(self, bench: Bench) -> None:
        """Its default lease and its dead-lettering, or None."""
        dead = await bench.new_queue()
        declared = QueueOptions(lease_s=45, dead_letter_queue=dead, max_receive_count=7)
        info = await bench.broker.describe(await bench.new_queue(declared))
        claim(info.lease_s in (45, None), f"lease_s is 45, not {info.lease_s}")
        claim(info.max_receive_count in (7, None), f"7, not {info.max_receive_count}")
        claim(info.dead_letter_queue in (dead, None), f"{dead!r}, not {info.dead_letter_queue!r}")
        plain = await bench.broker.describe(await bench.new_queue())
        same(plain.dead_letter_queue, None, "dead letter queue of a queue without one")
        same(plain.max_receive_count, None, "max_receive_count without a dead letter queue")

    @case
    async def test_a_dead_letter_policy_is_added_to_a_queue_without_one(self, bench: Bench) -> None:
        """A later declare adds it; one without a policy takes nothing away."""
        dead, queue = await bench.new_queue(), await bench.new_queue()
        options = QueueOptions(dead_letter_queue=dead, max_receive_count=7)
        for later in (options, QueueOptions()):
            await bench.broker.declare(queue, later)
            info = await bench.broker.describe(queue)
            claim(info.max_receive_count in (7, None), f"7, not {info.max_receive_count}")
            claim(info.dead_letter_queue in (dead, None), f"not {info.dead_letter_queue!r}")

    @case
    async def test_describe_tells_a_lowered_limit(self, bench: Bench) -> None:
        """The limit in force on this queue, not the broker's."""
        queue = await bench.limited_queue(2048)
        limit = (await bench.broker.describe(queue)).max_message_bytes
        claim(limit in (2048, None), f"2048, not {limit}")

    @case
    async def test_no_verb_works_before_connect(self, bench: Bench) -> None:
        """Each raises ClosedError."""
        broker = bench.harness.make_broker()
        await _claim_all_closed(broker, bench.queue, "before connect")
        await broker.aclose()

    @case
    async def test_no_verb_works_after_aclose(self, bench: Bench) -> None:
        """Each raises ClosedError."""
        broker = bench.harness.make_broker()
        await broker.connect()
        await broker.aclose()
        await _claim_all_closed(broker, bench.queue, "after aclose")

    @case
    async def test_connecting_and_closing_twice_is_fine(self, bench: Bench) -> None:
        """Both are idempotent; closing what was never connected is fine too."""
        await bench.broker.connect()
        await bench.send("kept")
        same((await bench.take_one()).body, "kept", "body after a second connect")
        for connects in (0, 1):
            broker = bench.harness.make_broker()
            for _ in range(connects):
                await broker.connect()
            await broker.aclose()
            await broker.aclose()

    @case
    async def test_async_with_connects_and_closes(self, bench: Bench) -> None:
        """Nothing else is needed."""
        async with bench.harness.make_broker() as broker:
            await broker.ping([])
        await refusal(broker.ping([]), ClosedError, "ping after async with")

    @case
    async def test_closing_leaves_no_task_behind(self, bench: Bench) -> None:
        """Whatever the broker object started has ended."""
        before = asyncio.all_tasks()
        broker = bench.harness.make_broker()
        await broker.connect()
        await broker.declare(bench.queue, QueueOptions())
        await every_verb(broker, bench.queue, "no-such-receipt")["receive"]()
        await broker.aclose()
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - before
        same([task.get_name() for task in left], [], "tasks left")

    @case
    async def test_ping_passes_with_and_without_queues(self, bench: Bench) -> None:
        """A queue that does not exist still proves that the broker answers."""
        await bench.broker.ping([])
        await bench.broker.ping([bench.queue])
        await bench.broker.ping([bench.harness.queue_name()])

    @case
    async def test_ping_makes_no_queue_and_takes_no_message(self, bench: Bench) -> None:
        """It is passive."""
        await bench.send("kept")
        missing = bench.harness.queue_name()
        await bench.broker.ping([bench.queue, missing])
        await bench.broker.ping([missing])
        kept = await bench.take_one()
        same((kept.body, kept.attempt), ("kept", 1), "the message")
        await settled(bench.broker.ack(bench.queue, [kept.receipt]))
        await bench.claim_nothing_ready("a message of the ping's own")
        if not bench.capabilities.creates_queues:
            await refusal(bench.broker.describe(missing), QueueNotFoundError, "describe after ping")

    @case
    async def test_two_brokers_do_not_share_what_one_closes(self, bench: Bench) -> None:
        """Closing one object leaves another usable."""
        other = bench.harness.make_broker()
        await other.connect()
        await other.aclose()
        await bench.send("kept")
        same((await bench.take_one()).body, "kept", "body")


async def _claim_all_closed(broker: Broker, queue: str, when: str) -> None:
    calls = every_verb(broker, queue, "no-such-receipt")
    calls["ping"] = lambda: broker.ping([queue])
    calls["declare"] = lambda: broker.declare(queue, QueueOptions())
    for verb, call in calls.items():
        await refusal(call(), ClosedError, f"{verb} {when}")
