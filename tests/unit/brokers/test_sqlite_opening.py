# ruff: noqa: ASYNC240 - small files on a local disk, and nothing else runs on the loop
import asyncio
import fcntl
import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mqtransport.brokers.sqlite import SQLiteBroker, files, schema
from mqtransport.brokers.sqlite.errors import translated
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    BrokerUnavailableError,
    ClosedError,
    ConfigurationError,
)
from tests.durability.support import QUEUE, drain, opened, receive, send, stored
from tests.processes.support import ROOT, clean_environment, command

COMPANIONS = ("-wal", "-shm", "-lock", "-reserve")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def refused(path: Path) -> str:
    """What the refusal to open says."""
    broker = SQLiteBroker(path)
    with pytest.raises(ConfigurationError) as refusal:
        await broker.connect()
    await broker.aclose()
    return str(refusal.value)


async def test_nobody_else_can_read_a_new_file(path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(path) as broker:
            await send(broker, "a")
            beside = sorted(one.name for one in path.parent.iterdir())
            modes = {name: mode(path.with_name(name)) for name in beside}
    finally:
        os.umask(before)
    assert beside == sorted(["queues.db", *("queues.db" + end for end in COMPANIONS)])
    assert set(modes.values()) == {0o600}, modes


async def test_wider_rights_are_taken_away_and_said(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as broker:
        await send(broker, "a")
    path.chmod(0o664)
    async with opened(path) as broker:
        assert mode(path) == 0o600
        assert await drain(broker) == ["a"]
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "664" in record.getMessage()


@pytest.mark.parametrize("end", ["", *COMPANIONS, "-journal"])
async def test_a_symbolic_link_is_refused_and_left_alone(path: Path, end: str) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(b"precious")
    link = path.with_name(path.name + end)
    link.symlink_to(victim)
    assert "symbolic link" in await refused(path)
    assert victim.read_bytes() == b"precious"
    assert link.is_symlink()


async def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    assert repr(str(tmp_path / "none")) in await refused(tmp_path / "none" / "queues.db")
    assert not (tmp_path / "none").exists()


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "queues.db").mkdir()
    assert "is no file" in await refused(tmp_path / "queues.db")


async def test_another_programs_database_is_refused_and_unchanged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    assert "another program" in await refused(path)
    assert path.read_bytes() == before


async def test_a_newer_file_is_refused_and_unchanged(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    assert f"version {schema.VERSION + 1}" in await refused(path)
    assert path.read_bytes() == before


def test_an_older_file_is_brought_forward_step_by_step(path: Path) -> None:
    steps = [
        "CREATE TABLE one (a TEXT) STRICT;",
        "ALTER TABLE one ADD COLUMN b TEXT DEFAULT 'new';\nCREATE INDEX one_b ON one (b);",
        "INSERT INTO one VALUES ('third', 'step');",
    ]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.migrate(db, steps[:1])
        db.execute("INSERT INTO one VALUES ('kept')")
        schema.migrate(db, steps)
        schema.migrate(db, steps)
        assert db.execute("SELECT a, b FROM one").fetchall() == [("kept", "new"), ("third", "step")]
        assert db.execute("PRAGMA user_version").fetchone() == (3,)
        with pytest.raises(schema.NewerFileError, match="version 3"):
            schema.migrate(db, steps[:2])


def test_a_migration_that_fails_leaves_the_older_file(path: Path) -> None:
    steps = ["CREATE TABLE one (a TEXT) STRICT;", "CREATE TABLE two (a TEXT);\nDROP TABLE none;"]
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        schema.migrate(db, steps[:1])
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(db, steps)
        db.execute("ROLLBACK")
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("one",)]


SEND = """
import asyncio, pathlib, sys
from tests.durability.support import opened, send

async def main():
    sys.stdin.readline()
    async with opened(pathlib.Path(sys.argv[1])) as broker:
        await send(broker, *sys.argv[2:])

asyncio.run(main())
"""
"""A program that waits for a line, opens the file, sends, and closes it."""


def started(path: Path, *ids: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("-c", SEND, str(path), *ids),
        env=clean_environment(),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.process
@pytest.mark.parametrize("attempt", range(5))
def test_processes_that_start_at_once_on_a_new_file_all_succeed(path: Path, attempt: int) -> None:
    processes = [started(path, str(number)) for number in range(3)]
    try:
        for one in processes:
            one.stdin.write("\n")
            one.stdin.flush()
        told = [one.communicate(timeout=60)[1] for one in processes]
    finally:
        for one in processes:
            one.kill()
            one.wait()
    assert [one.returncode for one in processes] == [0, 0, 0], told
    assert stored(path) == {"0", "1", "2"}


@pytest.mark.process
class Overtaken(sqlite3.Connection):
    """A connection whose file another process makes ours between two looks at it."""

    path: Path

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        if "sqlite_master" in sql:
            other = sqlite3.connect(self.path, timeout=0, isolation_level=None)
            with closing(other), suppress(sqlite3.OperationalError):  # it has to wait, as it should
                other.execute("BEGIN IMMEDIATE")
                schema.migrate(other)
                other.execute("COMMIT")
        return super().execute(sql, *values)


def test_a_file_that_is_being_made_is_not_taken_for_another_programs(path: Path) -> None:
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None, factory=Overtaken)) as db:
        db.path = path
        lock = os.open(path.with_name(path.name + "-lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            files._check_whole(db, path, lock)
        finally:
            os.close(lock)


async def test_what_a_process_sends_stays_when_another_closes_the_file(path: Path) -> None:
    """Two brokers in one process; SQLite's locks are per process and file, so that a descriptor
    closed too much would let another process delete the write-ahead log under them."""
    log = path.with_name(path.name + "-wal")
    async with opened(path) as first, opened(path) as second:
        await send(first, "a")
        other = started(path, "b")
        told = await asyncio.to_thread(other.communicate, "\n", 60)
        assert other.returncode == 0, told
        assert log.exists(), "another process deleted the log that is in use"
        await send(first, "c")
        await send(second, "d")
        # As a kill would leave it.
        copy = path.with_name("copy.db")
        shutil.copy(path, copy)
        shutil.copy(log, copy.with_name("copy.db-wal"))
    assert stored(copy) == {"a", "b", "c", "d"}


async def test_a_file_that_another_program_locks_is_an_error_in_time(path: Path) -> None:
    async with opened(path) as broker:
        await send(broker, "a")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        late = SQLiteBroker(path, timeout_s=0.2)
        with pytest.raises(BrokerUnavailableError, match="locked"):
            await late.connect()
        await late.aclose()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("server:/export /mnt nfs4 rw 0 0", "nfs4"),
        ("//server/share /mnt cifs rw 0 0", "cifs"),
        ("/dev/sdb1 /mnt ext4 rw 0 0", "ext4"),
        ("server:/export /mnt/other nfs rw 0 0", "ext4"),
        ("server:/export /mn nfs rw 0 0", "ext4"),
    ],
)
def test_the_file_system_is_that_of_the_longest_mount_point(
    tmp_path: Path, line: str, kind: str
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\n{line}\nproc /proc proc rw 0 0\n")
    assert files.file_system(Path("/mnt/data"), mounts) == kind


def test_a_mount_point_with_a_space_is_understood(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\nserver:/e /mnt/my\\040disk nfs rw 0 0\n")
    assert files.file_system(Path("/mnt/my disk/queues"), mounts) == "nfs"


@pytest.mark.parametrize(("kind", "warned"), [("nfs4", 1), ("ext4", 0)])
def test_a_network_file_system_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, warned: int
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"server:/e / {kind} rw 0 0\n")
    files.warn_of_network(tmp_path / "queues.db", mounts)
    said = [one.getMessage() for one in caplog.records if "network file system" in one.msg]
    assert len(said) == warned
    assert all("secret" not in one and kind in one for one in said)


@pytest.mark.parametrize(
    ("name", "kind", "maybe_done"),
    [
        ("SQLITE_READONLY_DBMOVED", AccessDeniedError, False),
        ("SQLITE_IOERR_FSYNC", BrokerUnavailableError, True),
        ("SQLITE_BUSY_SNAPSHOT", BrokerUnavailableError, False),
        ("SQLITE_FULL", BrokerUnavailableError, False),
        ("SQLITE_SOMETHING_NEW", BrokerUnavailableError, True),
    ],
)
def test_what_sqlite_raises_becomes_an_error_of_ours(
    name: str, kind: type[BrokerError], maybe_done: bool
) -> None:
    error = sqlite3.OperationalError("foreign text")
    error.sqlite_errorname = name
    ours = translated("send", QUEUE, error)
    assert type(ours) is kind
    assert ours.queue == QUEUE
    assert "foreign text" not in str(ours)
    if kind is BrokerUnavailableError:
        assert ours.maybe_done == maybe_done


async def test_repr_and_errors_show_neither_folder_nor_bodies(path: Path) -> None:
    broker = SQLiteBroker(path)
    assert repr(broker) == "<SQLiteBroker 'queues.db'>"
    await broker.connect()
    await send(broker, "secret-body")
    (taken,) = await receive(broker)
    (stale,) = await broker.ack(QUEUE, ["1.9." + taken.broker_id])
    shown = f"{stale!r} {stale}"
    assert "secret-body" not in shown
    assert str(path.parent) not in shown
    await broker.aclose()


async def test_a_connect_that_was_given_up_leaves_no_thread_and_no_lock(path: Path) -> None:
    before = set(threading.enumerate())
    broker = SQLiteBroker(path)
    connecting = asyncio.create_task(broker.connect())
    await asyncio.sleep(0)  # its thread is there
    (thread,) = set(threading.enumerate()) - before
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await broker.aclose()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    with path.with_name("queues.db-lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who has the file open holds it shared


async def test_a_process_that_changes_its_folder_goes_on_with_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    monkeypatch.chdir(path.parent)
    async with opened(Path(path.name)) as broker:
        await send(broker, "a")
        monkeypatch.chdir(elsewhere)
        await send(broker, "b")
        assert await drain(broker) == ["a", "b"]
    assert list(elsewhere.iterdir()) == []


async def test_a_file_is_a_file_whatever_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    for name in (":memory:", "file:x?mode=memory", "a b", "50%", "what?", "é", "a#b"):
        async with opened(Path(name)) as broker:
            await send(broker, "a")
        async with opened(Path(name)) as broker:
            assert await drain(broker) == ["a"], name


FORKING = """
import asyncio, os, sys
from mqtransport.brokers.sqlite import SQLiteBroker

async def call(broker):
    try:
        print(type(await broker.describe("orders")).__name__, flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)

broker = SQLiteBroker(sys.argv[1])
asyncio.run(broker.connect())
child = os.fork()
if child == 0:
    asyncio.run(call(broker))
    asyncio.run(broker.aclose())
    os._exit(0)
os.waitpid(child, 0)
asyncio.run(call(broker))
asyncio.run(broker.aclose())
"""


@pytest.mark.process
def test_a_child_forked_after_connect_is_told_and_its_parent_goes_on(path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKING, str(path)],
        env=clean_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["ConfigurationError", "QueueInfo"], ran.stderr


async def test_close_does_not_wait_for_a_file_that_is_being_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, open_file = threading.Event(), files.open_file

    def open_late(*arguments: object, **options: object) -> files.QueueFile:
        assert go.wait(30)
        return open_file(*arguments, **options)

    monkeypatch.setattr(files, "open_file", open_late)
    broker = SQLiteBroker(path)
    connecting = asyncio.create_task(broker.connect())
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5):
            await broker.aclose()
    finally:
        go.set()
    with pytest.raises(ClosedError):
        await connecting
    with path.with_name("queues.db-lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody has the file open
