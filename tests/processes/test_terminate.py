"""SIGTERM with full hands: one graceful stop, and everything not done is visible again."""

from pathlib import Path

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.fleet import Journal, feed, feeder, fleet, until
from tests.processes.worker import Work

pytestmark = [pytest.mark.process]

IN_HAND = 200
GROUP = 10
FOR_EVER_S = 3600.0


async def test_sigterm_with_200_in_hand_gives_back_all_that_is_not_done(tmp_path: Path) -> None:
    """Every fourth handler finishes once the stop begins; the others would run for an hour."""
    works = [
        Work(n=n, then="until_stop") if n % 4 == 0 else Work(n=n, sleep_s=FOR_EVER_S)
        for n in range(IN_HAND + 60)
    ]
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs")
        async with feeder(double, "jobs") as producer:
            confirmed = await feed(producer, works)
        with fleet(double, tmp_path, 2, queue="jobs", concurrency=IN_HAND) as workers:
            worker = workers.add()
            await workers.noted("start", IN_HAND, worker)
            assert double.counts("jobs")[1] == IN_HAND
            worker.terminate()
            counts = await workers.ended(worker)
            await until(lambda: double.counts("jobs")[1] == 0, "nothing in flight", 1.0)
            started, done = workers.journal.numbers("start"), workers.journal.numbers("done")

        # Batches that were sent at the same time may lie in the queue in another order.
        assert (len(confirmed), len(set(started))) == (len(works), IN_HAND)
        assert sorted(done) == sorted(n for n in started if n % 4 == 0)
        assert double.counts("jobs") == (len(works) - len(done), 0, 0)
        assert (counts.acked, counts.released) == (len(done), IN_HAND - len(done))
        assert counts.received == IN_HAND  # a slot that came free was not filled again


async def test_groups_keep_their_order_when_another_process_takes_over(tmp_path: Path) -> None:
    """At SIGTERM each of 20 groups has its head at work and nine behind it in hand.

    The heads of half the groups finish during the stop, the others are cut off.
    """
    groups = IN_HAND // GROUP
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs.fifo", FifoQueue=True)
        async with feeder(double, "jobs.fifo") as producer:
            for group in range(groups):
                head = Work(n=group * GROUP, then="until_stop" if group % 2 else "until_gate")
                for work in [head, *(Work(n=head.n + n) for n in range(1, GROUP))]:
                    await producer.send(work, group=str(group))
        with fleet(double, tmp_path, 2, queue="jobs.fifo", concurrency=IN_HAND) as workers:
            first = workers.add()
            await workers.noted("start", groups, first)
            await until(lambda: double.counts("jobs.fifo")[1] == IN_HAND, "200 in flight")
            first.terminate()
            counts = await workers.ended(first)
            await until(lambda: double.counts("jobs.fifo")[1] == 0, "nothing in flight", 1.0)
            assert double.counts("jobs.fifo") == (IN_HAND - groups // 2, 0, 0)
            assert (counts.acked, counts.released) == (groups // 2, IN_HAND - groups // 2)
            # Of a group nothing but the head has started, also after its head was done.
            assert workers.journal.count("start", first.pid) == groups

            second = workers.add()
            second.gate.touch()
            await until(lambda: sum(double.counts("jobs.fifo")) == 0, "an empty queue")
            second.terminate()
            await workers.ended(second)

        assert done_by_group(workers.journal) == {
            group: list(range(group * GROUP, (group + 1) * GROUP)) for group in range(groups)
        }


def done_by_group(journal: Journal) -> dict[int, list[int]]:
    """Return what was done of each group, in the order of its doing, by both processes."""
    found: dict[int, list[int]] = {}
    for _, n in journal.steps["done"]:
        found.setdefault(int(n) // GROUP, []).append(int(n))
    return found


async def test_five_sigterms_in_a_row_are_one_graceful_stop(tmp_path: Path) -> None:
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs")
        async with feeder(double, "jobs") as producer:
            await feed(producer, [Work(n=1, then="until_gate")])
        with fleet(double, tmp_path, 30, queue="jobs") as workers:
            worker = workers.add()
            await workers.noted("start", 1, worker)
            for _ in range(5):
                beats = workers.journal.count("beat")
                worker.terminate()
                # Signals that wait become one: the handler goes on, so this one has arrived.
                await workers.noted("beat", beats + 2, worker)
            worker.gate.touch()
            counts = await workers.ended(worker)

        assert (counts.received, counts.acked, counts.released) == (1, 1, 0)
        assert workers.journal.steps["interrupted"] == []
        assert worker.log().count("SIGTERM received: stopping") == 1
        assert worker.log().count("stopped in") == 1
        assert double.counts("jobs") == (0, 0, 0)
