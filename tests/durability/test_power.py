"""Power cuts, on a disk in memory that keeps what was synced; needs root and FUSE."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.durability.campaign import Journal, run_round
from tests.durability.support import kill, opened, running, said, send, stored
from tests.processes.support import clean_environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800)]

SHARES = (0.0, 0.5, 0.95)
"""How much of what was not synced survives: a disk that wrote nothing yet, or nearly all."""


class Disk:
    """A folder that loses its power when it is told to."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.folder = folder
        self._process = process

    def wait_for_mount(self) -> None:
        line = self._process.stdout.readline()
        if line != "mounted\n":
            pytest.skip("a FUSE file system cannot be mounted here")

    def cut(self, random: Random) -> None:
        """Nobody may use it any more."""
        subprocess.run(["umount", str(self.folder)], check=True, timeout=30)
        command = f"cut {random.getrandbits(32)} {random.choice(SHARES)}\n"
        self._process.stdin.write(command)
        self._process.stdin.flush()
        self.wait_for_mount()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or not Path("/dev/fuse").exists():
        pytest.skip("simulated power cuts need root and /dev/fuse")
    probe = [sys.executable, "-c", "import mfusepy"]
    tried = subprocess.run(probe, env=clean_environment(), capture_output=True, text=True)
    if tried.returncode:
        why = tried.stderr.strip().rsplit("\n", 1)[-1]
        pytest.skip(f"simulated power cuts need mfusepy (PyPI) and libfuse2 (Debian): {why}")
    folder = tmp_path / "disk"
    folder.mkdir()
    with running("tests.durability.powerfs", str(folder)) as process:
        disk = Disk(folder, process)
        disk.wait_for_mount()
        try:
            yield disk
        finally:
            kill(process)
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, timeout=30)


def cut_often(disk: Disk, cuts: int, synchronous: str) -> Journal:
    path, random, journal, start = disk.folder / "queues.db", Random(), Journal(), time.monotonic()
    for number in range(cuts):
        # Without a taker in every other round, since what was taken is not looked for.
        run_round(
            path,
            journal,
            random,
            prefix=f"{number}",
            takers=number % 2,
            synchronous=synchronous,
            most_s=0.6,
        )
        disk.cut(random)
        journal.compare(path)
    print(f"\n{synchronous}: {cuts} power cuts, {journal} in {time.monotonic() - start:.0f} s")
    return journal


def test_what_was_confirmed_outlives_every_power_cut(
    disk: Disk, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    journal = cut_often(disk, 50 if full else 3, "FULL")
    assert journal.lost == set()
    assert caplog.records == [], "a start after a power cut is nothing to report"


def test_without_a_sync_per_commit_the_file_stays_sound(disk: Disk, full: bool) -> None:
    """The last moments may be lost; how much is printed."""
    cut_often(disk, 10 if full else 2, "NORMAL")


async def test_a_new_file_can_be_opened_after_a_cut_at_any_moment(
    disk: Disk, full: bool, tmp_path: Path
) -> None:
    """Nothing was confirmed, so that nothing may be taken for damaged."""
    random = Random()
    for number in range(30 if full else 3):
        path = disk.folder / f"queues{number}.db"
        with running("tests.durability.traffic", "send", str(path), "x") as process:
            async with asyncio.timeout(60):
                while not path.with_name(path.name + "-lock").exists():
                    assert process.poll() is None
                    await asyncio.sleep(0.005)
            await asyncio.sleep(random.uniform(0, 0.05))
            kill(process)
            confirmed = said(process).split()
        disk.cut(random)
        async with opened(path) as broker:
            await send(broker, "first")
        assert stored(path) >= {"first"}
        assert {body.split(" ")[0] for body in stored(path)} >= set(confirmed)
