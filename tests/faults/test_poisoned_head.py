"""A group whose first message can never be handled: the others follow, in order, in bounded time.

Time is judged by counts and by the order of events: every wait that the policy allows is a retry
in place or a release, and all of these are counted.
"""

import json
from random import Random
from typing import Any

import pytest

from mqtransport import Backoff, Delivery, Retry
from mqtransport.channel import Counts
from mqtransport.testing.sqs_double import SQSDouble
from tests.faults.journal import Item, Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until

ATTEMPTS = 3
RETRY = Retry(max_attempts=ATTEMPTS, backoff=Backoff(first_s=0.05, max_s=0.1))
GOOD = [f"good-{n}" for n in range(9)]
DEAD_LETTERS = "steps-dlq.fifo"


@pytest.mark.parametrize(
    ("fence_s", "releases"),
    [
        # The head is retried in place: each message is received once.
        (60.0, 0),
        # Each failure gives the whole group back, the last one first.
        (0.0, (ATTEMPTS - 1) * (1 + len(GOOD))),
    ],
)
async def test_a_poisoned_head_stalls_its_group_no_longer_than_its_policy_says(
    fence_s: float, releases: int, journal: Journal
) -> None:
    events: list[tuple[str, int]] = []

    async def behave(item: Item, delivery: Delivery) -> None:
        events.append((item.key, delivery.attempt))
        if item.key == "poison":
            raise ValueError("this one never works")

    counts, dead = await play(journal, Recorder(journal, behave), fence_s)

    tried = [("poison", attempt) for attempt in range(1, ATTEMPTS + 1)]
    assert [event for event in events if event[0] == "poison"] == tried, journal
    assert [key for key, _ in events] == ["poison"] * ATTEMPTS + GOOD, journal
    assert (counts.acked, counts.dead_lettered) == (len(GOOD), 1), counts
    assert counts.released == releases, counts
    assert counts.lease_lost == 0, counts
    assert dead == {
        "error": "ValueError",
        "text": "this one never works",
        "attempts": ATTEMPTS,
        "queue": "steps.fifo",
        "consumer": "Recorder",
    }, journal


async def play(
    journal: Journal, recorder: Recorder, fence_s: float
) -> tuple[Counts, dict[str, Any]]:
    """Handle the group to its end; return the counts and the reason on the dead letter."""
    async with (
        SQSDouble(seed=1) as double,
        app_on(double.url, random=Random(1)) as app,
    ):
        double.create_queue(DEAD_LETTERS, FifoQueue=True)
        policy = {
            "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:000000000000:{DEAD_LETTERS}",
            "maxReceiveCount": RETRY.max_deliveries,
        }
        double.create_queue("steps.fifo", FifoQueue=True, RedrivePolicy=policy)
        await fill(double, journal)
        channel = await app.create_consuming_channel(
            "steps.fifo", dead_letter=DEAD_LETTERS, retry=RETRY, max_fence_s=fence_s
        )
        channel.add_consumer(recorder)
        await app.start()
        await until(
            lambda: channel.counts.acked + channel.counts.dead_lettered == 1 + len(GOOD),
            lambda: (channel.counts, journal),
            within_s=30.0,
        )
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "steps.fifo", DEAD_LETTERS)
        journal.check()
        assert not journal.waiting, journal
        (dead,) = double.messages(DEAD_LETTERS)
    assert dead.group == "g", "a dead letter stays in its group"
    assert dead.source_arn is None, "it was the queue's own policy that moved it"
    reason = json.loads(dead.attributes["MQ"])["dl"]
    return channel.counts, {k: v for k, v in reason.items() if k not in ("first", "last")}


async def fill(double: SQSDouble, journal: Journal) -> None:
    """Send the whole group before anybody receives, so that it comes in one piece."""
    async with app_on(double.url) as app:
        out = await app.create_producing_channel("steps.fifo")
        out.add_producer(producer := Items())
        await app.start()
        for key in ["poison", *GOOD]:
            assert await journal.send(producer, key, group="g")
