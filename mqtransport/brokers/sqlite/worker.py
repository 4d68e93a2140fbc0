"""The one thread that touches the file: callers' work is grouped into few commits.

Everything that waits while a commit is under way goes into the next one, so that many callers
share the price of an fsync. A lone caller pays for its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from mqtransport.brokers.sqlite import reserve
from mqtransport.brokers.sqlite.files import QueueFile
from mqtransport.brokers.sqlite.jobs import (
    Answer,
    Deadlines,
    Job,
    Together,
    Work,
    each,
    of_each_kind,
)
from mqtransport.errors import BrokerUnavailableError

_T = TypeVar("_T")
_R = TypeVar("_R")

MOST_AT_ONCE = 500
"""Calls in one transaction: enough to share its fsync, few enough for the first not to wait."""

LOOK_EVERY_S = 0.05
"""While receives wait, the file is looked at so often for what other processes have written."""

_log = logging.getLogger("mqtransport.brokers.sqlite")


class Worker:
    """Runs work on the file in a thread of its own.

    Args:
        open_file: opens the file; called on the thread.
        on_foreign_write: called on the thread when another process has written to the file,
            only while ``watched``; and when the thread dies. Raises nothing.
        in_each: called with the connection in every transaction.
        timeout_s: seconds after which a call that is not done ends with a TimeoutError.

    Attributes:
        pid: the process whose thread it is; a fork does not take the thread along.
        watched: how many receives wait for messages.
        full: whether the disk was full; then what would make the file grow is refused. It is
            not while the reserve is there, whichever process gave it up.
    """

    def __init__(
        self,
        open_file: Callable[[], QueueFile],
        on_foreign_write: Callable[[], None],
        in_each: Work[None],
        timeout_s: float,
    ) -> None:
        self._open_file = open_file
        self._on_foreign_write = on_foreign_write
        self._in_each = in_each
        self._timeout_s = timeout_s
        self._deadlines: Deadlines | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self.pid = os.getpid()
        self.watched = 0
        self.full = False

    async def start(self, timeout_s: float) -> None:
        """Start the thread and wait until the file is open; raises what opening it raised."""
        opened = Job(each, None)
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="mqtransport sqlite", daemon=True
        )
        self._thread.start()
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(opened.future)
        except BaseException:
            self._jobs.put(None)  # nobody will stop a worker that was given up while it opened
            raise

    def submit(self, work: Work[_T], *, grows: bool = False) -> asyncio.Future[_T]:
        """Have work done in a transaction; the future has its result once it is committed.

        Args:
            work: called with the connection.
            grows: whether it makes the file larger, so that it is refused on a full disk.
        """
        return self.begin(Job(each, work, grows))

    def submit_one_of(
        self, together: Together[_T, _R], item: _T, *, grows: bool = False
    ) -> asyncio.Future[_R]:
        """Like :meth:`submit`, for what is done for all calls of a transaction at once.

        Args:
            together: called with the connection, and the items of all that were submitted with it.
            item: what this call is about.
            grows: as above.
        """
        return self.begin(Job(together, item, grows))

    def begin(self, job: Job) -> asyncio.Future[Any]:
        """Have a job done; cancelling its future withdraws it, unless its turn has come."""
        if self._failure is not None or self._ended.is_set():
            job.settle(None, BrokerUnavailableError("SQLite: the thread of the file has ended"))
            return job.future
        if self._deadlines is None or self._deadlines.loop is not job.loop:
            self._deadlines = Deadlines(job.loop, self._timeout_s)
        self._deadlines.watch(job.future)
        self._jobs.put(job)
        return job.future

    async def stop(self, timeout_s: float) -> None:
        """Do what was submitted, close the file, end the thread; bounded."""
        self._jobs.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, timeout_s)

    def _settle(self, answers: Sequence[Answer]) -> None:
        for job, result, error in answers:
            job.settle(result, error)
        if self._deadlines is not None:
            self._deadlines.forget_done()

    # -- on the thread ---------------------------------------------------------------------

    def _run(self, opened: Job) -> None:
        try:
            file = self._open_file()
        except BaseException as error:  # handed to the caller of start
            self._failure = error
            self._answer([(opened, None, error)])
            return
        self._answer([(opened, None, None)])
        try:
            self._work(file)
        except BaseException as error:
            self._failure = error
            _log.critical("SQLite: the thread of %r died", file.path.name, exc_info=error)
            self._on_foreign_write()  # those who wait meet the error now, not after their wait
        finally:
            try:
                file.close()
            finally:
                self._ended.set()
                self._refuse_the_rest()

    def _work(self, file: QueueFile) -> None:
        seen = _version(file.db)
        while True:
            jobs, stop = self._collect()
            if jobs:
                self._transact(file, jobs)
            if stop:
                return
            # None, a look that failed, is a change too: those who wait then meet the error.
            if self.watched and (found := _version(file.db)) != seen:
                seen = found
                self._on_foreign_write()

    def _collect(self) -> tuple[list[Job], bool]:
        """Wait for work, and take all that is there; True says that it is the last."""
        jobs: list[Job] = []
        try:
            job = self._jobs.get(timeout=LOOK_EVERY_S if self.watched else 1.0)
            while True:
                if job is None:
                    return jobs, True
                jobs.append(job)
                if len(jobs) >= MOST_AT_ONCE:
                    break
                job = self._jobs.get_nowait()
        except queue.Empty:
            pass
        return jobs, False

    def _transact(self, file: QueueFile, jobs: list[Job]) -> None:
        live = [job for job in jobs if not job.future.done()]  # nobody waits for the others
        try:
            if not file.is_in_place():
                self._answer([(job, None, _is_gone(file)) for job in live])
                return
            if any(job.grows for job in live):
                self._note_room(file, not reserve.keep(file.path))
            refused = [job for job in live if job.grows] if self.full else []
            answers: list[Answer] = [(job, None, disk_is_full()) for job in refused]
            rest = [job for job in live if not job.grows] if self.full else live
            answers += self._commit(file, rest)
        except BaseException as error:  # the thread dies of it
            died = BrokerUnavailableError(
                "SQLite: the thread of the file has died; restart", maybe_done=True
            )
            died.__cause__ = error
            self._answer([(job, None, died) for job in live])
            raise
        self._answer(answers)

    def _commit(self, file: QueueFile, jobs: Sequence[Job]) -> list[Answer]:
        """Do the work of all in one transaction; if that fails, each in one of its own."""
        if not jobs:
            return []
        try:
            _roll_back(file.db)  # if that failed after the last transaction
            file.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return [(job, None, error) for job in jobs]
        try:
            self._in_each(file.db)
            answers: list[Answer] = []
            for kind in of_each_kind(jobs):
                results = kind[0].together(file.db, [job.item for job in kind])
                answers += zip(kind, results, [None] * len(kind), strict=True)
            file.db.execute("COMMIT")
        except Exception as error:
            with suppress(sqlite3.Error):
                _roll_back(file.db)
            if len(jobs) > 1:
                return [answer for job in jobs for answer in self._commit(file, [job])]
            if _is_full(error):
                return self._make_room(file, jobs[0], error)
            return [(jobs[0], None, error)]
        return answers

    def _make_room(self, file: QueueFile, job: Job, error: Exception) -> list[Answer]:
        """On a full disk what empties the queue goes on, in the reserve; what fills it does not."""
        if job.grows:
            return [(job, None, disk_is_full())]
        if reserve.give_up(file.path):
            self._note_room(file, True)
            return self._commit(file, [job])
        return [(job, None, error)]

    def _note_room(self, file: QueueFile, full: bool) -> None:
        if full and not self.full:
            _log.error("SQLite: the disk of %r is full; sends are refused", file.path.name)
        elif self.full and not full:
            _log.warning("SQLite: the disk of %r has room again", file.path.name)
        self.full = full

    def _answer(self, answers: Sequence[Answer]) -> None:
        """Wake the callers, once for each loop."""
        loops = {answer[0].loop for answer in answers}
        for loop in loops:
            one_loop = len(loops) == 1
            mine = answers if one_loop else [one for one in answers if one[0].loop is loop]
            try:
                loop.call_soon_threadsafe(self._settle, mine)
            except RuntimeError:
                _log.debug("SQLite: a caller's event loop has ended")

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                gone = BrokerUnavailableError("SQLite: the thread of the file has ended")
                self._answer([(job, None, gone)])


def disk_is_full() -> BrokerUnavailableError:
    """Return the error of a send on a full disk."""
    return BrokerUnavailableError("SQLite: the disk is full; make room (acks still work)")


def _is_gone(file: QueueFile) -> BrokerUnavailableError:
    return BrokerUnavailableError(
        f"SQLite: {file.path.name!r} was deleted, moved or replaced while in use; nothing is "
        f"confirmed any more. Put it back, or stop all its processes and start again"
    )


def _version(db: sqlite3.Connection) -> int | None:
    try:
        return int(db.execute("PRAGMA data_version").fetchone()[0])
    except sqlite3.Error:
        return None


def _roll_back(db: sqlite3.Connection) -> None:
    if db.in_transaction:  # some errors have rolled back already
        db.execute("ROLLBACK")


def _is_full(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", None) == "SQLITE_FULL"  # not every one has a name
