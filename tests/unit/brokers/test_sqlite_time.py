import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mqtransport.brokers.sqlite import SQLiteBroker, files, schema
from tests.durability.support import QUEUE, drain, message, opened, receive, send

HOUR_S = 3600.0


class TwoClocks:
    """A machine's clocks, which a test moves."""

    def __init__(self) -> None:
        self.up_s = 50_000.0
        self.wall_s = 1_750_000_000.0

    def monotonic(self) -> float:
        return self.up_s

    def time(self) -> float:
        return self.wall_s

    def pass_(self, seconds: float) -> None:
        self.up_s += seconds
        self.wall_s += seconds

    def reboot(self, *, off_s: float, wall_jump_s: float = 0.0) -> None:
        """The monotonic clock starts anew, the wall clock goes on, or jumps."""
        self.up_s = 10.0
        self.wall_s += off_s + wall_jump_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def clock() -> TwoClocks:
    return TwoClocks()


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.migrate(db)
        yield db


async def ready(broker: SQLiteBroker) -> int:
    return (await broker.describe(QUEUE)).depth or 0


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 30 * 24 * HOUR_S])
async def test_a_jump_of_the_wall_clock_neither_hides_nor_shows_a_message(
    path: Path, clock: TwoClocks, jump_s: float
) -> None:
    async with opened(path, clock=clock) as broker:
        await send(broker, "leased", "ready")
        await broker.send(QUEUE, [message("delayed", delay_s=60)])
        (held,) = await receive(broker, most=1, lease_s=30)
        clock.wall_s += jump_s
        assert [one.body for one in await receive(broker, lease_s=5)] == ["ready"]
        assert await broker.extend(QUEUE, [held.receipt], lease_s=30) == [None]
        clock.pass_(29)
        assert [one.body for one in await receive(broker, lease_s=100)] == ["ready"]
        clock.pass_(2)
        assert [one.body for one in await receive(broker, lease_s=100)] == ["leased"]
        clock.pass_(30)
        assert [one.body for one in await receive(broker, lease_s=100)] == ["delayed"]


@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S])
async def test_a_dedup_id_outlives_a_jump_of_the_wall_clock(
    path: Path, clock: TwoClocks, jump_s: float
) -> None:
    async with opened(path, clock=clock) as broker:
        first = await broker.send("o.fifo", [message("a", group="g")])
        clock.wall_s += jump_s
        assert await broker.send("o.fifo", [message("a", group="g")]) == first
        clock.pass_(301)
        assert await broker.send("o.fifo", [message("a", group="g")]) != first


async def test_leases_end_with_the_boot(path: Path, clock: TwoClocks) -> None:
    async with opened(path, clock=clock) as broker:
        await send(broker, "a")
        (held,) = await receive(broker, lease_s=43_000)
    clock.reboot(off_s=60)
    async with opened(path, clock=clock) as broker:
        (again,) = await receive(broker)
        assert (again.body, again.attempt) == ("a", 2)
        (stale,) = await broker.ack(QUEUE, [held.receipt])
        assert stale is not None


async def test_an_ordered_group_goes_on_after_a_reboot(path: Path, clock: TwoClocks) -> None:
    async with opened(path, clock=clock) as broker:
        for id in ("a", "b"):
            await broker.send("o.fifo", [message(id, group="g")])
        await receive(broker, "o.fifo", most=1, lease_s=43_000)
    clock.reboot(off_s=60)
    async with opened(path, clock=clock) as broker:
        assert await drain(broker, "o.fifo") == ["a", "b"]


@pytest.mark.parametrize("up_before_s", [0.0, 20 * 24 * HOUR_S])
@pytest.mark.parametrize(
    ("off_s", "wall_jump_s", "left_s"),
    [
        (60, 0, 400 - 60),  # a minute off
        (1000, 0, 0),  # off for longer than the delay
        (60, HOUR_S, 0),  # the wall clock went ahead: no later than it was due
        (60, -HOUR_S, 400),  # it went back: for no longer than what was left
    ],
)
async def test_a_delay_goes_on_after_a_reboot_for_what_is_left_of_it(
    path: Path,
    clock: TwoClocks,
    up_before_s: float,
    off_s: float,
    wall_jump_s: float,
    left_s: float,
) -> None:
    async with opened(path, clock=clock) as broker:
        clock.pass_(up_before_s)
        await broker.send(QUEUE, [message("a", delay_s=500)])
        clock.pass_(100)
        await broker.send("other", [message("b")])
    clock.reboot(off_s=off_s, wall_jump_s=wall_jump_s)
    async with opened(path, clock=clock) as broker:
        if left_s:
            clock.pass_(left_s - 1)
            assert await ready(broker) == 0
        clock.pass_(1)
        assert await ready(broker) == 1


async def test_a_jump_of_the_wall_clock_before_a_reboot_stretches_no_delay(
    path: Path, clock: TwoClocks
) -> None:
    async with opened(path, clock=clock) as broker:
        await send(broker, "early")
        clock.pass_(20 * 24 * HOUR_S)
        clock.wall_s -= 2 * HOUR_S
        await broker.send(QUEUE, [message("a", delay_s=500)])
    clock.reboot(off_s=100)
    async with opened(path, clock=clock) as broker:
        assert await ready(broker) == 1
        clock.pass_(401)
        assert await ready(broker) == 2


async def test_the_clocks_are_noted_at_most_once_a_minute(path: Path, clock: TwoClocks) -> None:
    def noted() -> float:
        with closing(sqlite3.connect(path)) as db:
            return float(db.execute("SELECT monotonic FROM boot").fetchone()[0])

    async with opened(path, clock=clock) as broker:
        start = noted()
        seen = []
        for number in range(10):
            clock.pass_(25)
            await send(broker, str(number))
            seen.append(noted() - start)
    assert seen == [0, 0, 75, 75, 75, 150, 150, 150, 225, 225]


def test_a_boot_without_a_name_is_known_by_its_clock(db: sqlite3.Connection) -> None:
    schema.rebase(db, boot_id="", now=50_000, wall=1_000_000)
    db.execute(
        "INSERT INTO messages (queue, id, due, leased, sent_at, checksum, attributes)"
        " VALUES (1, 'a', 60000, 1, 0, 0, '')"
    )
    schema.rebase(db, boot_id="", now=50_001, wall=1_000_001)
    assert db.execute("SELECT due, leased FROM messages").fetchall() == [(60_000, 1)]
    schema.rebase(db, boot_id="", now=10, wall=1_000_002)
    assert db.execute("SELECT due, leased FROM messages").fetchall() == [(0, 0)]


def test_another_boots_dedup_ids_are_forgotten(db: sqlite3.Connection) -> None:
    schema.rebase(db, boot_id="one", now=50, wall=1_000_000)
    db.execute("INSERT INTO dedup_ids VALUES (1, 'd', 'a', 49)")
    schema.rebase(db, boot_id="two", now=60, wall=1_000_002)
    assert db.execute("SELECT COUNT(*) FROM dedup_ids").fetchone() == (0,)


async def test_a_start_that_takes_long_ends_no_lease_of_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one checks the file, another makes it, notes the clocks and takes a message."""
    check = files._check_whole
    go, checks = threading.Event(), threading.Event()

    def check_slowly(*arguments: Any) -> None:
        check(*arguments)
        checks.set()
        assert go.wait(30)

    monkeypatch.setattr(files, "_check_whole", check_slowly)
    late = SQLiteBroker(path)
    connecting = asyncio.create_task(late.connect())
    assert await asyncio.to_thread(checks.wait, 10)
    monkeypatch.setattr(files, "_check_whole", check)
    try:
        async with opened(path) as broker:
            await send(broker, "a")
            (held,) = await receive(broker)
            go.set()
            await connecting
            assert await receive(late) == []
            assert await broker.ack(QUEUE, [held.receipt]) == [None]
            assert (await late.describe(QUEUE)).in_flight == 0
    finally:
        go.set()
        await late.aclose()
