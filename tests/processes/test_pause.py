"""SIGSTOP for longer than a lease: what was in hand has gone to another, and stays there."""

import signal
from pathlib import Path

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.fleet import feed, feeder, fleet, until
from tests.processes.worker import Work

pytestmark = pytest.mark.process

IN_HAND = 10
SHORT = set(range(IN_HAND // 2))
"""Their handlers are due to end at the very moment at which the paused process goes on."""


async def test_a_paused_consumer_loses_its_leases_and_settles_nothing_of_anothers(
    tmp_path: Path,
) -> None:
    works = [
        Work(n=n, then="until_gate") if n in SHORT else Work(n=n, then="until_stop")
        for n in range(IN_HAND)
    ]
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs")
        double.create_queue("jobs-dlq")
        async with feeder(double, "jobs") as producer:
            await feed(producer, works)
        options = {"queue": "jobs", "dead_letter": "jobs-dlq", "concurrency": IN_HAND}
        with fleet(double, tmp_path, lease_s=3, **options) as workers:
            paused = workers.add()
            await workers.noted("start", IN_HAND, paused)
            paused.send_signal(signal.SIGSTOP)
            paused.gate.touch()

            other = workers.add()
            await workers.noted("start", IN_HAND, other)
            held = [(2, "in_flight")] * IN_HAND
            assert states(double) == held
            paused.send_signal(signal.SIGCONT)
            journal = workers.journal
            await until(
                lambda: journal.count("lost", paused.pid) + journal.count("done") == IN_HAND,
                "every handler of the paused process has ended",
            )
            paused.terminate()
            counts = await workers.ended(paused)
            # Its late acks are over by now: they were dropped, or the receipts were too old.
            assert states(double) == held
            told = journal.numbers("lost", paused.pid)
            assert set(told) >= set(range(IN_HAND)) - SHORT
            assert (counts.received, counts.released, counts.dead_lettered) == (IN_HAND, 0, 0)
            assert counts.lease_lost >= IN_HAND - len(SHORT)

            other.gate.touch()
            await until(lambda: double.counts("jobs")[1] == IN_HAND - len(SHORT), "half is acked")
            other.terminate()
            counts = await workers.ended(other)
            assert (counts.received, counts.acked, counts.lease_lost) == (IN_HAND, IN_HAND, 0)
            assert sorted(journal.numbers("done", other.pid)) == list(range(IN_HAND))
        assert double.counts("jobs") == (0, 0, 0)
        assert double.messages("jobs-dlq") == []


def states(double: SQSDouble) -> list[tuple[int, str]]:
    """Return how often each message was received, and its state."""
    return [(message.receive_count, message.state) for message in double.messages("jobs")]
