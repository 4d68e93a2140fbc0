"""``kill -9`` of consumers and producers at random moments: nothing confirmed is lost."""

import json
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.fleet import Fleet, feed, feeder, fleet, settings, until
from tests.processes.support import process
from tests.processes.worker import Work, Works

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

WARM = 3
"""Workers at a time, so that a kill need not wait for the start of the next one."""

ROUND = 100
"""Messages sent before each kill."""

CONCURRENCY = 10


@dataclass
class Campaign:
    """What was tried and what came of it; its text is what a failure shows."""

    confirmed: list[int] = field(default_factory=list)
    handled: Counter[int] = field(default_factory=Counter)
    at_risk: Counter[int] = field(default_factory=Counter)
    kills: int = 0
    fruitful: int = 0
    dead_lettered: int = 0
    left: tuple[int, int, int] = (0, 0, 0)

    @property
    def lost(self) -> list[int]:
        return sorted(set(self.confirmed) - set(self.handled))

    @property
    def repeats(self) -> Counter[int]:
        """How often each message was handled after its first time."""
        return self.handled - Counter(set(self.handled))

    def __str__(self) -> str:
        return (
            f"kills {self.kills} ({self.fruitful} with work in hand), "
            f"attempted {self.kills * ROUND}, confirmed {len(self.confirmed)}, "
            f"handled {len(self.handled)}, "
            f"duplicated {self.repeats.total()} of {self.at_risk.total()} at risk, "
            f"dead-lettered {self.dead_lettered}, left {self.left}, "
            f"lost {len(self.lost)}: {self.lost[:20]}"
        )


async def test_killed_consumers_lose_nothing_and_repeat_only_what_was_in_flight(
    tmp_path: Path, full: bool
) -> None:
    kills, random, campaign = (100 if full else 10), Random(20), Campaign()
    options = {"concurrency": CONCURRENCY, "lease_s": 3, "max_deliveries": 1000}
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs")
        double.create_queue("jobs-dlq")
        with fleet(double, tmp_path, queue="jobs", dead_letter="jobs-dlq", **options) as workers:
            for _ in range(WARM):
                workers.add()
            async with feeder(double, "jobs") as producer:
                for _ in range(kills):
                    await send_and_kill(campaign, workers, double, producer, random)
            await until(
                lambda: sum(double.counts("jobs")) == 0,
                f"an empty queue; {campaign} {double.counts('jobs')}",
            )
            for worker in workers.workers[kills:]:
                await workers.ready(worker)
                worker.terminate()
                await workers.ended(worker)
            campaign.handled.update(workers.journal.numbers("done"))
        campaign.left = double.counts("jobs")
        campaign.dead_lettered = len(double.messages("jobs-dlq"))

    figures = str(campaign)
    assert len(campaign.confirmed) == kills * ROUND, figures
    assert campaign.lost == [], figures
    assert set(campaign.handled) == set(campaign.confirmed), figures
    assert (campaign.dead_lettered, campaign.left) == (0, (0, 0, 0)), figures
    # Message by message: no more repeats than kills that found it in flight.
    assert campaign.repeats - campaign.at_risk == Counter(), figures
    assert campaign.repeats.total() <= kills * CONCURRENCY, figures
    # Or the kills proved nothing.
    assert campaign.fruitful >= kills / 4, figures


async def send_and_kill(
    campaign: Campaign, workers: Fleet, double: SQSDouble, producer: Works, random: Random
) -> None:
    """Send a round of messages; kill the oldest worker somewhere in the midst of it."""
    victim, journal = workers.workers[campaign.kills], workers.journal
    await workers.ready(victim)
    first = campaign.kills * ROUND
    works = [Work(n=first + n, sleep_s=random.uniform(0, 0.1)) for n in range(ROUND)]
    moment = journal.count("done") + random.randrange(ROUND // 2)
    campaign.confirmed += await feed(producer, works)
    await until(lambda: journal.count("done") > moment, f"more than {moment} messages done")
    victim.kill_now()
    in_flight = numbers_in(double, "jobs", state="in_flight")
    workers.add()
    campaign.kills += 1
    campaign.at_risk.update(in_flight)
    of_victim = set(journal.numbers("start", victim.pid))
    campaign.fruitful += not of_victim.isdisjoint(in_flight)


async def test_a_message_that_kills_its_process_is_dead_lettered_unrun(tmp_path: Path) -> None:
    """It dies two seconds after its start: its neighbours are done, and acked, long before."""
    poison, limit = 7, 3
    options = {"concurrency": CONCURRENCY, "lease_s": 1, "max_attempts": 3, "max_deliveries": limit}
    works = [
        Work(n=n, sleep_s=2.0, then="die") if n == poison else Work(n=n, sleep_s=0.01)
        for n in range(50)
    ]
    # The poll of a process that died would take it once more, and spend one of its deliveries.
    with SQSDouble.in_thread(zombie_polls=False) as double:
        double.create_queue("jobs")
        double.create_queue("jobs-dlq")
        async with feeder(double, "jobs") as producer:
            confirmed = await feed(producer, works)
        with fleet(double, tmp_path, queue="jobs", dead_letter="jobs-dlq", **options) as workers:
            for _ in range(limit):
                dying = workers.add()
                await until(lambda dying=dying: dying.poll() is not None, "it kills its process")
                assert dying.returncode == 1, dying.log()
            last = workers.add()
            await until(lambda: sum(double.counts("jobs")) == 0, "an empty queue")
            last.terminate()
            counts = await workers.ended(last)
            journal = workers.journal
            started, done = journal.numbers("start"), journal.numbers("done")

        assert started.count(poison) == limit
        assert sorted(set(done)) == sorted(set(confirmed) - {poison})
        (letter,) = double.messages("jobs-dlq")
        assert json.loads(letter.body)["n"] == poison
        reason = json.loads(letter.attributes["MQ"])["dl"]
        assert (reason["error"], reason["attempts"]) == ("DeliveryLimitError", limit + 1)
        assert reason["text"] == "delivered 4 times; the limit is 3"
        assert counts.dead_lettered == 1


PRODUCER = """
import asyncio, itertools, os, sys
from mqtransport import MQApp
from tests.processes.worker import Work, Works

async def main(first: int) -> None:
    app = await MQApp.connect()
    channel = await app.create_producing_channel("jobs")
    channel.add_producer(producer := Works())
    await app.start()
    numbers = itertools.count(first)

    async def send() -> None:
        for n in numbers:
            await producer.send(Work(n=n))
            os.write(1, f"{n}\\n".encode())

    await asyncio.gather(*(send() for _ in range(SENDERS)))

asyncio.run(main(int(sys.argv[1])))
"""

SENDERS = 20


async def test_what_a_killed_producer_saw_confirmed_is_in_the_queue(
    tmp_path: Path, full: bool
) -> None:
    random, reported = Random(21), Counter[int]()
    path = tmp_path / "producer.py"
    path.write_text(PRODUCER.replace("SENDERS", str(SENDERS)), encoding="utf-8")
    kills = 25 if full else 3
    with SQSDouble.in_thread() as double:
        double.create_queue("jobs")
        for kill in range(kills):
            with process(str(path), str(kill * 1_000_000), **settings(double)) as producer:
                reported.update(read_and_kill(producer, random.randint(1, 400)))
        stored = Counter(numbers_in(double, "jobs"))

    figures = f"kills {kills}, confirmed {len(reported)}, stored {len(stored)}"
    assert len(reported) >= kills, figures
    lost = sorted(reported - stored)
    assert lost == [], f"{figures}, lost {len(lost)}: {lost[:20]}"
    assert max(stored.values()) == 1, figures
    # What was under way at a kill: each sender waits for one message at a time.
    assert len(stored - reported) <= kills * SENDERS, figures


def read_and_kill(producer: subprocess.Popen[str], lines: int) -> list[int]:
    """Read some of what it confirms, kill it; return all that it had reported by then."""
    assert producer.stdout is not None
    read = [producer.stdout.readline() for _ in range(lines)]
    producer.kill()
    # Not communicate(): it would pass over what readline() has read ahead.
    rest = producer.stdout.read()
    return [int(line) for line in [*read, *rest.splitlines()]]


def numbers_in(double: SQSDouble, queue: str, *, state: str | None = None) -> list[int]:
    """Return the numbers of the messages in a queue, or of those in this state."""
    return [
        int(json.loads(message.body)["n"])
        for message in double.messages(queue)
        if state in (None, message.state)
    ]
