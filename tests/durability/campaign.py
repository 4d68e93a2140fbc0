"""Rounds of senders and takers on one file, which all are killed, and what must be there then."""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.durability.support import kill, opened, running, said, stored

TRAFFIC = "tests.durability.traffic"


@dataclass
class Journal:
    """What the processes of all rounds said.

    Attributes:
        confirmed: ids of messages whose send was confirmed.
        taken: ids of messages that somebody was about to ack.
        kills: how many processes were killed.
        lost: confirmed, not taken, and not in the file.
    """

    confirmed: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)
    kills: int = 0
    lost: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {len(self.confirmed):,} confirmed, {len(self.taken):,} taken, "
            f"{len(self.lost)} lost"
        )

    def compare(self, path: Path) -> None:
        """Start on the file as a program would, and look what is missing.

        Raises if it cannot be started, or is damaged.
        """
        asyncio.run(_start_and_stop(path))
        found = {body.split(" ")[0] for body in stored(path)}
        self.lost |= self.confirmed - self.taken - found


def run_round(
    path: Path,
    journal: Journal,
    random: Random,
    *,
    prefix: str,
    senders: int = 2,
    takers: int = 1,
    synchronous: str = "FULL",
    most_s: float = 0.5,
) -> None:
    """Let processes work on the file for a random time, then kill all in a random order."""
    with ExitStack() as stack:
        sending = [
            stack.enter_context(
                running(TRAFFIC, "send", str(path), f"{prefix}.{number}", synchronous)
            )
            for number in range(senders)
        ]
        taking = [stack.enter_context(running(TRAFFIC, "take", str(path))) for _ in range(takers)]
        heard = {one: _first_line(one.stdout) for one in sending}
        # Not to synchronise, but to be killed at any moment.
        time.sleep(random.uniform(0, most_s))
        everybody = sending + taking
        random.shuffle(everybody)
        for one in everybody:
            assert one.poll() is None, f"a process ended by itself: {one.args}"
            kill(one)
            journal.kills += 1
        for one in everybody:
            ids = (heard.get(one, "") + said(one)).split("\n")[:-1]
            (journal.confirmed if one in sending else journal.taken).update(ids)


async def _start_and_stop(path: Path) -> None:
    async with opened(path) as broker:
        await broker.ping([])


def _first_line(stream: object) -> str:
    line = stream.readline()
    assert line, "a sender ended before it confirmed anything"
    return line
