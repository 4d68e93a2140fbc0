# ruff: noqa: ASYNC240 - small files on a local disk, and nothing else runs on the loop
import asyncio
import logging
import random
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mqtransport.brokers.sqlite import SQLiteBroker, reserve
from mqtransport.errors import BrokerUnavailableError, ConfigurationError, StaleReceiptError
from tests.durability.support import QUEUE, drain, message, opened, receive, send, stored
from tests.processes.support import clean_environment, command

PAGE = 4096
SENT = [f"m{number:03}" for number in range(200)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


async def fill(path: Path) -> None:
    """Some pages full of messages; small and large ones."""
    async with opened(path) as broker:
        for start in range(0, len(SENT), 10):
            batch = [message(id, id + "x" * 200) for id in SENT[start : start + 10]]
            assert all(isinstance(one, str) for one in await broker.send(QUEUE, batch))
        await broker.send(QUEUE, [message("large", "large" + "y" * 5000)])


async def refused(path: Path) -> str:
    broker = SQLiteBroker(path)
    with pytest.raises(ConfigurationError) as refusal:
        await broker.connect()
    await broker.aclose()
    return str(refusal.value)


def put_aside(path: Path) -> list[Path]:
    """The damaged files that lie beside it, without their companions."""
    found = path.parent.glob(path.name + ".damaged-*")
    return sorted(one for one in found if not one.name.endswith(("-wal", "-shm", "-journal")))


def zero(start: int, count: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:start] + bytes(count) + data[start + count :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "header zeroed": zero(0, 100),
    "first block zeroed": zero(0, 512),
    "first page zeroed": zero(0, PAGE),
    "truncated in the middle": lambda data: data[: len(data) // 2],
    "truncated within a page": lambda data: data[: 3 * PAGE + 100],
    "truncated to a header": lambda data: data[:100],
    "truncated to nothing": lambda data: b"",
    "page zeroed in the middle": zero(5 * PAGE, PAGE),
    "garbage": lambda data: random.Random(1).randbytes(len(data)),
    "text": lambda data: b"not a database, but long enough to be taken for one" * 100,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_file_is_put_aside_and_the_start_refused(
    path: Path, damage: Callable[[bytes], bytes]
) -> None:
    await fill(path)
    backup = path.with_name("backup")
    shutil.copy(path, backup)
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)

    told = await refused(path)
    (aside,) = put_aside(path)
    assert aside.name in told
    assert aside.read_bytes() == damaged
    assert not path.exists()

    assert aside.name in await refused(path), "the next start is refused, too"
    assert not path.exists()

    shutil.copy(backup, path)
    async with opened(path) as broker:
        assert len(await drain(broker)) == len(SENT) + 1


async def test_a_damaged_backup_does_not_overwrite_what_was_put_aside(path: Path) -> None:
    await fill(path)
    for content in (b"first" * 1000, b"second" * 1000, b"third" * 1000):
        path.write_bytes(content)
        await refused(path)
    assert {one.read_bytes()[:5] for one in put_aside(path)} == {b"first", b"secon", b"third"}


async def test_the_log_goes_aside_with_its_file(path: Path) -> None:
    log = path.with_name(path.name + "-wal")
    await fill(path)
    async with opened(path) as broker:
        await send(broker, "newest")
        file, kept = path.read_bytes(), log.read_bytes()
    # As if the process had been killed, and what lay in the file before was damaged.
    path.write_bytes(zero(3 * PAGE, len(file) - 3 * PAGE)(file))
    log.write_bytes(kept)

    await refused(path)
    (aside,) = put_aside(path)
    assert aside.with_name(aside.name + "-wal").read_bytes() == kept
    assert not log.exists()
    assert repr(aside.name) in await refused(path)


async def killed(path: Path, to: Path) -> bytes:
    """A copy of the file as it is after a kill, with many commits in its log; returns the log."""
    log = path.with_name(path.name + "-wal")
    async with opened(path) as broker:
        await send(broker, *SENT[:60])
        for end in ("", "-lock"):
            shutil.copy(path.with_name(path.name + end), to.with_name(to.name + end))
        return log.read_bytes()


@pytest.mark.parametrize("part", [0.0, 0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("size", [16, 512, 5000])
async def test_commits_behind_a_damaged_block_of_the_log_are_not_lost_in_silence(
    path: Path, caplog: pytest.LogCaptureFixture, part: float, size: int
) -> None:
    copy = path.with_name("copy.db")
    log = await killed(path, copy)
    damaged = zero(int(len(log) * part), size)(log)
    copy.with_name("copy.db-wal").write_bytes(damaged)
    broker = SQLiteBroker(copy)
    try:
        await broker.connect()
        got = await drain(broker)
    except ConfigurationError:
        assert put_aside(copy)
        return
    finally:
        await broker.aclose()
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(got) == 60 or any("log is damaged" in one for one in said)
    if len(got) < 60:
        (kept,) = path.parent.glob("copy.db-wal.damaged-*")
        assert kept.read_bytes() == damaged
        assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("cut", [0, 1, 30, 5000])
async def test_a_log_that_ends_in_an_unfinished_commit_is_no_damage(
    path: Path, caplog: pytest.LogCaptureFixture, cut: int
) -> None:
    copy = path.with_name("copy.db")
    log = await killed(path, copy)
    copy.with_name("copy.db-wal").write_bytes(log[: len(log) - cut])
    async with opened(copy) as broker:
        assert len(await drain(broker)) >= 58
    assert [one for one in caplog.records if one.levelno == logging.ERROR] == []


async def test_a_last_commit_that_lacks_a_frame_is_no_damage(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk writes in any order: its last frame may be there, and one before it may not."""
    copy = path.with_name("copy.db")
    log = await killed(path, copy)
    frame = 24 + PAGE
    starts = range(32, len(log) - frame + 1, frame)
    ends = [start for start in starts if log[start + 4 : start + 8] != bytes(4)]
    assert ends[-1] - ends[-2] > frame, "the last commit has several frames"
    copy.with_name("copy.db-wal").write_bytes(zero(ends[-2] + frame, frame)(log))
    async with opened(copy) as broker:
        assert len(await drain(broker)) == 59
    assert [one for one in caplog.records if one.levelno == logging.ERROR] == []


async def test_a_log_that_others_write_to_is_no_damage(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as one:
        for number in range(40):
            batch = [message(f"{number}.{other}", "x" * 40_000) for other in range(10)]
            await one.send(QUEUE, batch)
            async with opened(path) as two:
                await drain(two)
    assert [one for one in caplog.records if one.levelno == logging.ERROR] == []


async def test_a_name_with_wildcards_is_refused_again_too(tmp_path: Path) -> None:
    path = tmp_path / "queues[1].db"
    await fill(path)
    path.write_bytes(b"garbage" * 1000)
    await refused(path)
    await refused(path)
    assert not path.exists()


async def test_a_damaged_file_that_is_in_use_is_not_moved(path: Path) -> None:
    async with opened(path) as user:
        await send(user, "a")
        late = SQLiteBroker(path)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA writable_schema = ON")
            db.execute("UPDATE sqlite_master SET rootpage = 9999 WHERE name = 'damaged'")
        with pytest.raises(ConfigurationError, match="other processes use it"):
            await late.connect()
        await late.aclose()
        assert path.exists()
        assert put_aside(path) == []


async def test_a_message_that_an_index_lost_is_found_at_the_start(path: Path) -> None:
    """Hidden for ever otherwise: receives look for messages in the index alone."""
    async with opened(path) as broker:
        await send(broker, *SENT[:5])
    data = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'messages_due'"
        ).fetchone()
        (due,) = db.execute("SELECT due FROM messages ORDER BY due DESC").fetchone()
    page = slice((root - 1) * PAGE, root * PAGE)
    assert data[page].count(struct.pack(">d", due)) == 1
    data[page] = data[page].replace(struct.pack(">d", due), struct.pack(">d", 1e300))
    path.write_bytes(data)
    assert "damaged" in await refused(path)


async def test_zeroed_blocks_never_hide_a_message_in_silence(
    path: Path, caplog: pytest.LogCaptureFixture, full: bool
) -> None:
    """Wherever a block is lost: refused, or all is delivered that was not logged as damaged."""
    await fill(path)
    whole = path.read_bytes()
    source = random.Random(7)
    ends = {"refused": 0, "whole": 0, "message put aside": 0}
    for number in range(1500 if full else 60):
        place = path.with_name(f"copy{number}.db")
        shutil.copy(path.with_name(path.name + "-lock"), place.with_name(place.name + "-lock"))
        size = source.choice([16, 512])
        start = source.randrange(len(whole) // size) * size
        fill_with = source.choice([bytes(size), b"\xff" * size, source.randbytes(size)])
        place.write_bytes(whole[:start] + fill_with + whole[start + size :])
        broker = SQLiteBroker(place)
        try:
            await broker.connect()
        except ConfigurationError:
            await broker.aclose()
            ends["refused"] += 1
            continue
        caplog.clear()
        got = await drain(broker)
        await broker.aclose()
        with closing(sqlite3.connect(place)) as db:
            (aside,) = db.execute("SELECT COUNT(*) FROM damaged").fetchone()
        logged = [one for one in caplog.records if one.levelno == logging.ERROR]
        assert len(got) + aside == len(SENT) + 1, f"{size} bytes at {start}"
        assert len(logged) == aside
        assert all(one[:4] in SENT or one == "large" + "y" * 5000 for one in got)
        ends["message put aside" if aside else "whole"] += 1
    assert ends["refused"] > 10, ends
    assert ends["message put aside"] > 0, ends


async def test_a_file_that_never_was_a_queue_file_is_not_moved(path: Path) -> None:
    path.write_bytes(b"somebody's letters" * 1000)
    assert "no queue file" in await refused(path)
    assert path.read_bytes() == b"somebody's letters" * 1000


def spoil(path: Path, body: str, into: bytes, queue: str = QUEUE) -> None:
    """Change a body in the file behind the broker's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        changed = 0
        for table in ("messages", "bodies"):
            changed += db.execute(
                f"UPDATE {table} SET body = CAST(? AS TEXT) WHERE body = ?", (into, body)
            ).rowcount
        assert changed == 1


@pytest.mark.parametrize("queue", [QUEUE, "orders.fifo"])
@pytest.mark.parametrize("into", [b"other", b"", b"\xff\xfe\x80", b"b\xc3"], ids=repr)
@pytest.mark.parametrize("body", ["b", "b" * 5000], ids=["inline", "large"])
async def test_a_damaged_message_is_neither_delivered_nor_dropped(
    path: Path, caplog: pytest.LogCaptureFixture, body: str, into: bytes, queue: str
) -> None:
    async with opened(path) as broker:
        group = "g" if queue.endswith(".fifo") else None
        for one in ("a", body, "c"):
            await broker.send(queue, [message(one[0], one, group=group)])
        spoil(path, body, into)
        assert await drain(broker, queue) == ["a", "c"]
        info = await broker.describe(queue)
        assert (info.depth, info.in_flight) == (0, 0)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT CAST(body AS BLOB), queue FROM damaged").fetchall()
    assert [row[0] for row in rows] == [into]
    (record,) = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert "damaged" in record.getMessage()
    assert body not in record.getMessage().split()


async def test_a_missing_large_body_puts_its_message_aside(path: Path) -> None:
    async with opened(path) as broker:
        await broker.send(QUEUE, [message("a", "a" * 5000), message("b")])
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("DELETE FROM bodies")
        assert await drain(broker) == ["b"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT body FROM damaged").fetchall() == [(None,)]


async def test_every_damaged_message_is_kept(path: Path) -> None:
    """Their numbers come again once they have left the queue."""
    async with opened(path) as broker:
        for body in ("first", "second", "third"):
            await send(broker, body)
            spoil(path, body, b"not " + body.encode())
            assert await receive(broker) == []
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT body FROM damaged").fetchall()
    assert rows == [("not first",), ("not second",), ("not third",)]


@pytest.mark.process
async def test_who_lists_a_file_is_told_of_damaged_messages_by_its_exit_status(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a", "b")
        assert listing(path).returncode == 0
        spoil(path, "a", b"other")
        assert await drain(broker) == ["b"]
    shown = listing(path)
    assert shown.returncode == 1
    assert "(table damaged): 1\n" in shown.stdout


def listing(path: Path) -> subprocess.CompletedProcess[str]:
    """What ``python -m mqtransport.brokers.sqlite`` says of the file."""
    return subprocess.run(
        command("-m", "mqtransport.brokers.sqlite", str(path)),
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


async def test_damaged_attributes_put_the_message_aside(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a", "b")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("UPDATE messages SET attributes = CAST(x'80ff' AS TEXT) WHERE body = 'a'")
        assert await drain(broker) == ["b"]


async def test_damage_under_a_running_broker_is_a_typed_error(path: Path) -> None:
    """An index that names a message which is not there; others wait until it is restored."""
    async with opened(path) as broker:
        await send(broker, "a", "b")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            # Hide the index from the deletion: the file is then as after a lost write.
            db.execute("PRAGMA writable_schema = ON")
            index = db.execute("SELECT * FROM sqlite_master WHERE name = 'messages_due'").fetchone()
            db.execute("DELETE FROM sqlite_master WHERE name = 'messages_due'")
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("DELETE FROM messages WHERE body = 'a'")
            db.execute("PRAGMA writable_schema = ON")
            db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index)
            (version,) = db.execute("PRAGMA schema_version").fetchone()
            db.execute(f"PRAGMA schema_version = {version + 1}")
        with pytest.raises(BrokerUnavailableError, match="file is damaged"):
            await receive(broker)
    assert "damaged" in await refused(path)


async def test_what_is_stored_is_what_was_sent(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a", "ü€😀")
    assert stored(path) == {"a", "ü€😀"}


@pytest.mark.parametrize("how", ["deleted", "replaced", "with its folder"])
async def test_nothing_is_confirmed_into_a_file_that_is_no_longer_there(
    tmp_path: Path, how: str
) -> None:
    path = tmp_path / "data" / "queues.db"
    path.parent.mkdir()
    async with opened(path) as broker:
        await send(broker, "a")
        if how == "with its folder":
            shutil.rmtree(path.parent)
        else:
            for one in path.parent.iterdir():
                one.unlink()
        if how == "replaced":
            async with opened(path) as other:
                await send(other, "b")
        for _ in range(2):
            with pytest.raises(BrokerUnavailableError, match="deleted, moved or replaced"):
                await broker.send(QUEUE, [message("lost")])
            with pytest.raises(BrokerUnavailableError, match="deleted, moved or replaced"):
                await receive(broker)
            with pytest.raises(BrokerUnavailableError, match="deleted, moved or replaced"):
                await broker.ping([QUEUE])


async def test_a_file_that_is_put_back_is_used_again(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a")
        away = path.rename(path.with_name("away.db"))
        with pytest.raises(BrokerUnavailableError):
            await broker.send(QUEUE, [message("refused")])
        away.rename(path)
        await send(broker, "b")
        assert await drain(broker) == ["a", "b"]


async def test_callers_of_a_thread_that_dies_get_a_typed_error(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(path: Path) -> bool:
        raise RuntimeError("for a test")

    async with opened(path) as broker:
        waiting = asyncio.create_task(receive(broker, wait_s=20))
        await asyncio.sleep(0)  # its look is on its way, before the ping
        await broker.ping([QUEUE])
        await asyncio.sleep(0)  # it has looked, and waits
        monkeypatch.setattr(reserve, "keep", fail)
        with pytest.raises(BrokerUnavailableError, match="has died") as first:
            await broker.send(QUEUE, [message("a")])
        assert first.value.maybe_done
        async with asyncio.timeout(5):
            with pytest.raises(BrokerUnavailableError, match="has ended"):
                await waiting
        with pytest.raises(BrokerUnavailableError, match="has ended"):
            await broker.ping([QUEUE])
    assert "died" in caplog.text


async def test_a_receipt_that_cannot_be_ours_is_stale(path: Path) -> None:
    async with opened(path) as broker:
        for receipt in ("", "1.1", "1.1.\ud800", "1.1.\xe9", "9" * 19 + ".1.a", "\u0661.1.a"):
            (answer,) = await broker.ack(QUEUE, [receipt])
            assert isinstance(answer, StaleReceiptError), receipt
