"""A full disk: a small file system in memory, which the tests fill; needs root."""

import asyncio
import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mqtransport.brokers.sqlite import SQLiteBroker, reserve
from mqtransport.errors import BrokerUnavailableError
from tests.durability.support import QUEUE, drain, message, opened, receive, send, stored

BODY = "x" * 2000
DISK_BYTES = 24 * 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True, timeout=30)


def fill(disk: Path) -> Path:
    """Another program takes all that is free."""
    hog = disk / "hog"
    with hog.open("ab", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    free = os.statvfs(disk)
    assert free.f_bavail == 0
    return hog


async def send_until_full(broker: SQLiteBroker, prefix: str, most: int = 20_000) -> list[str]:
    """What was confirmed before the first refusal, which must say why."""
    confirmed: list[str] = []
    for number in range(most):
        id = f"{prefix}{number}"
        try:
            (answer,) = await broker.send(QUEUE, [message(id, f"{id} {BODY}")])
        except BrokerUnavailableError as error:
            refusal = error
            break
        assert isinstance(answer, str)
        confirmed.append(id)
    else:
        pytest.fail("the disk never was full")
    assert "disk is full" in str(refusal)
    assert not refusal.maybe_done
    return confirmed


async def test_sends_fail_and_what_empties_the_queue_goes_on(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = disk / "queues.db"
    async with opened(path) as broker:
        confirmed = await send_until_full(broker, "m")
        fill(disk)
        assert await send_until_full(broker, "late") == []

        (held,) = await receive(broker, most=1)
        assert await broker.extend(QUEUE, [held.receipt], lease_s=60) == [None]
        assert await broker.release(QUEUE, [held.receipt], delay_s=0) == [None]

        # One by one, as a consumer with nothing else to do acks: many small commits.
        got = []
        while taken := await receive(broker, most=1):
            got += [one.body.split(" ")[0] for one in taken]
            assert await broker.ack(QUEUE, [one.receipt for one in taken]) == [None]
        assert sorted(got) == sorted(confirmed)
    assert [one for one in caplog.records if one.levelno == logging.ERROR]


async def test_sends_work_again_once_there_is_room_and_the_reserve_is_back(disk: Path) -> None:
    path = disk / "queues.db"
    async with opened(path) as broker:
        await send(broker, "before")
        hog = fill(disk)
        assert len(await send_until_full(broker, "m")) < 10_000
        (held,) = await receive(broker, most=1)
        for _ in range(2000):  # until the reserve had to be given up
            if not reserve.is_there(path):
                break
            assert await broker.extend(QUEUE, [held.receipt], lease_s=60) == [None]
        with pytest.raises(BrokerUnavailableError, match="disk is full"):
            await send(broker, "still full")
        hog.unlink()
        await send(broker, "after")
        assert reserve.is_there(path)
        assert "after" in await drain(broker)


async def test_another_process_does_not_send_into_the_reserve_that_was_given_up(
    disk: Path,
) -> None:
    path = disk / "queues.db"
    async with opened(path) as one, opened(path) as other:
        await send(one, "a")
        fill(disk)
        await send_until_full(one, "m")
        # As one does for an ack, whose log then needs some of it.
        reserve.give_up(path)
        (disk / "log").write_bytes(bytes(8192))
        with pytest.raises(BrokerUnavailableError, match="disk is full"):
            await send(other, "b")


@pytest.mark.parametrize("log_is_left", [True, False])
async def test_a_start_on_a_full_disk_can_still_empty_the_queue(
    disk: Path, log_is_left: bool
) -> None:
    path = disk / "queues.db"
    async with opened(path) as broker:
        if log_is_left:
            confirmed = await send_until_full(broker, "m")
        else:
            confirmed = ["a", "b"]
            await send(broker, *confirmed)
    assert path.with_name(path.name + "-wal").exists() == log_is_left
    fill(disk)
    async with opened(path) as broker:
        assert {body.split(" ")[0] for body in await drain(broker)} == set(confirmed)
        with pytest.raises(BrokerUnavailableError, match="disk is full"):
            await send(broker, "late")


async def test_a_start_without_reserve_on_a_full_disk_can_still_empty_the_queue(
    disk: Path,
) -> None:
    """As after a kill: the log is there, and the file has no room for what lies in it."""
    path, log = disk / "queues.db", disk / "queues.db-wal"
    async with opened(path) as broker:
        await send(broker, *(f"m{number}" for number in range(20)))
        kept = {one: one.read_bytes() for one in (path, log, disk / "queues.db-lock")}
    reserve.give_up(path)
    for one, content in kept.items():
        one.write_bytes(content)
    # Room for the shared memory and a few commits, and not for the file to grow by the log.
    with (disk / "hog").open("wb", buffering=0) as hog:
        free = os.statvfs(disk)
        size = free.f_bavail * free.f_frsize - 12 * 4096
        os.posix_fallocate(hog.fileno(), 0, size)
    async with opened(path) as broker:
        (one,) = await receive(broker, most=1)
        assert await broker.ack(QUEUE, [one.receipt]) == [None]
        with pytest.raises(BrokerUnavailableError, match="disk is full"):
            await send(broker, "late")


async def test_nothing_confirmed_is_lost_when_senders_meet_a_full_disk(disk: Path) -> None:
    path = disk / "queues.db"
    async with opened(path) as broker, opened(path) as other:
        both = [
            send_until_full(one, f"{name}.{number}.")
            for name, one in (("a", broker), ("b", other))
            for number in range(4)
        ]
        confirmed = [id for ids in await asyncio.gather(*both) for id in ids]
    assert len(confirmed) > 100
    assert {body.split(" ")[0] for body in stored(path)} >= set(confirmed)


async def test_a_new_file_on_a_full_disk_is_a_typed_error_and_damages_nothing(disk: Path) -> None:
    hog = fill(disk)
    broker = SQLiteBroker(disk / "queues.db")
    with pytest.raises(BrokerUnavailableError):
        await broker.connect()
    await broker.aclose()
    hog.unlink()
    async with opened(disk / "queues.db") as again:
        await send(again, "a")
        assert await drain(again) == ["a"]


def test_a_reserve_that_does_not_fit_is_not_left_half_made(disk: Path) -> None:
    with (disk / "hog").open("wb", buffering=0) as hog:
        os.posix_fallocate(hog.fileno(), 0, DISK_BYTES - reserve.RESERVE_BYTES // 2)
    assert not reserve.keep(disk / "queues.db")
    assert [one.name for one in disk.iterdir()] == ["hog"]
