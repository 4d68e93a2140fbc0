"""A third of all batch entries fail, in every way: nothing is lost, and no send is unreported."""

import asyncio
from random import Random

import pytest

from mqtransport import Backoff, Delivery, Retry
from mqtransport.testing.sqs_double import SQSDouble
from mqtransport.testing.sqs_double.faults import EntryFault
from tests.faults.journal import Item, Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until

ACTIONS = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
PRODUCERS = 100
FRACTION = 0.3


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", ["failed", "dropped"])
async def test_with_30_percent_of_entries_failing_nothing_is_lost_or_unreported(
    how: str, full: bool, journal: Journal
) -> None:
    messages = 100_000 if full else 5_000
    async with (
        SQSDouble(seed=1) as double,
        app_on(double.url, lease_s=10.0, send_timeout_s=30.0, random=Random(1)) as app,
    ):
        double.create_queue("items")
        double.create_queue("items-dlq")
        out = await app.create_producing_channel("items", max_in_flight=4)
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel(
            "items",
            dead_letter="items-dlq",
            concurrency=100,
            retry=Retry(max_attempts=50, backoff=Backoff(first_s=0.05, max_s=0.1)),
        )
        channel.add_consumer(Recorder(journal, Moody()))
        await app.start()
        faults = {action: spoil(double, action, how) for action in ACTIONS}

        async def produce(part: int) -> None:
            for n in range(part, messages, PRODUCERS):
                await journal.send(producer, str(n))

        async with asyncio.timeout(1500 if full else 90):
            async with asyncio.TaskGroup() as producers:
                for part in range(PRODUCERS):
                    producers.create_task(produce(part))
            await until(
                lambda: double.counts("items") == (0, 0, 0) and channel.counts.in_hand == 0,
                lambda: (double.counts("items"), channel.counts),
                within_s=600 if full else 60,
            )
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items", "items-dlq")
        journal.check()
        assert len(journal.attempts) == messages, journal
        assert not journal.dead_lettered, journal
        # A message may come twice if the answer to its send hid that it was carried out, or if
        # its lease was lost; a failed ack is no reason.
        hidden = sum(fault.hits for fault in faults["SendMessageBatch"] if fault.applied)
        assert journal.duplicated <= hidden + channel.counts.lease_lost, journal
        # Every kind of entry was hit about as often as it should be, also those of leases.
        for action, struck in faults.items():
            entries = sum(call.entries for call in double.log if call.action == action)
            hits = sum(fault.hits for fault in struck)
            assert 0.2 < hits / entries < 0.4, (action, hits, entries, journal)


def spoil(double: SQSDouble, action: str, how: str) -> list[EntryFault]:
    """Let 30 % of the entries fail; dropped ones are carried out or not, half and half."""
    if how == "failed":
        return [double.fail_entries(action, FRACTION, seed=2)]
    return [
        double.drop_entries(action, FRACTION / 2, seed=3),
        # Of what the first leaves.
        double.drop_entries(action, FRACTION / 2 / (1 - FRACTION / 2), applied=True, seed=4),
    ]


class Moody:
    """Lets one run in twenty fail, and one message in five hundred outlive its lease."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    async def __call__(self, item: Item, delivery: Delivery) -> None:
        number = int(item.key)
        if number % 20 == 0 and item.key not in self._failed:
            self._failed.add(item.key)
            raise ValueError("the first run fails")
        if number % 500 == 1:
            await asyncio.sleep(7.5)
