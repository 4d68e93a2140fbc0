"""What both kinds of channel share: a queue, an owner, a main task whose death is noticed."""

from __future__ import annotations

import asyncio
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from mqtransport.broker import Broker
from mqtransport.clock import Clock
from mqtransport.errors import BrokerError, ChannelError, ClosedError, UsageError

if TYPE_CHECKING:
    from mqtransport.app import MQApp

END_GRACE_S = 0.1
"""A cancelled task of the library's own gets so long; an honest driver lets it end at once."""

LOG_EVERY_S = 60.0
"""While the same trouble goes on, it is logged once in so many seconds."""


@dataclass(frozen=True, slots=True)
class QueueRef:
    """A queue under its two names.

    Attributes:
        name: as the code knows it.
        physical: as the broker knows it: a name, or a URL.
        max_message_bytes: the size limit in force when the channel was opened.
    """

    name: str
    physical: str
    max_message_bytes: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What a channel works with; handed in by the app."""

    broker: Broker
    clock: Clock
    random: Random


class Seldom:
    """Tells whether something may be logged: each kind once in ``LOG_EVERY_S``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[object, float] = {}

    def __call__(self, kind: object) -> bool:
        """Return whether this kind was not logged lately, and note that it is now."""
        now = self._clock.monotonic()
        if now - self._said.get(kind, -math.inf) < LOG_EVERY_S:
            return False
        self._said[kind] = now
        return True


class Trouble:
    """The current trouble of a channel with its broker: counted, and logged without flooding.

    Attributes:
        error: the last error, None once a call went well again.
        failures: failed calls in a row.
        good_at: monotonic time of the last good call; None before the first.
        bad_at: monotonic time of the last failed call; None before the first.
    """

    def __init__(self, clock: Clock, logger: logging.Logger, label: str) -> None:
        self._clock = clock
        self.logger = logger
        self._label = label
        self._seldom = Seldom(clock)
        self.error: BrokerError | None = None
        self.failures = 0
        self.good_at: float | None = None
        self.bad_at: float | None = None
        self._told = False

    def good(self) -> None:
        """Note a call that went well."""
        self.good_at = self._clock.monotonic()
        if self.error is not None and self._told:
            self.logger.info("%s: the broker answers again", self._label)
        self.error, self.failures, self._told = None, 0, False

    def bad(self, error: BrokerError) -> None:
        """Note a failed call; logs it at most once a minute per class of error."""
        self.error = error
        self.failures += 1
        self.bad_at = self._clock.monotonic()
        if self._seldom(type(error)):
            self._told = True
            self.logger.warning("%s: %s; trying again", self._label, error)


class Channel(ABC):
    """A queue of an app, in one direction. Made by the app, never directly."""

    kind: str

    def __init__(self, app: MQApp, queue: QueueRef, tools: Tools) -> None:
        self._app = app
        self._queue = queue
        self._tools = tools
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._stopping = False
        self._on_failure: Callable[[Channel], None] | None = None
        self.logger = logging.getLogger(f"mqtransport.{self.kind}.{queue.name}")
        self.trouble = Trouble(tools.clock, self.logger, f"{self.kind} channel {queue.name!r}")

    @property
    def name(self) -> str:
        """The queue's name as the code knows it."""
        return self._queue.name

    @property
    def queue(self) -> QueueRef:
        """The queue under its two names."""
        return self._queue

    @property
    def app(self) -> MQApp:
        """The app that owns this channel."""
        return self._app

    @property
    def running(self) -> bool:
        """Whether the channel's main task is at work."""
        return self._task is not None and not self._task.done()

    @property
    def failure(self) -> BaseException | None:
        """What the main task died of; None while all is well."""
        return self._failure

    @property
    @abstractmethod
    def wedged(self) -> bool:
        """Whether the channel runs but makes no progress, so that only a restart helps."""

    @abstractmethod
    async def _run(self) -> None:
        """The main task: work until the channel is stopped."""

    def launch(self, on_failure: Callable[[Channel], None]) -> None:
        """Start the main task; ``on_failure`` is called once if it ever dies."""
        if self.running:
            raise UsageError(f"the {self.kind} channel {self.name!r} is running already")
        self._failure = None
        self._stopping = False
        self._on_failure = on_failure
        self._task = asyncio.create_task(self._run(), name=f"mqtransport {self.kind} {self.name}")
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error: BaseException | None = None if task.cancelled() else task.exception()
        if error is None:
            if self._stopping:
                return
            # Cancelled by somebody else: red health, but no alarm, because the end of a loop
            # cancels everything in it, also this.
            how = "was cancelled from outside" if task.cancelled() else "ended by itself"
            error = ChannelError(f"the main task of the {self.kind} channel {how}")
            if task.cancelled():
                self.logger.warning("%s", error)
                self._note_failure(error)
                return
        while isinstance(error, BaseExceptionGroup):  # the first defect is the one to name
            error = error.exceptions[0]
        self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Note that a task of this channel died, and tell the app."""
        if self._failure is not None:
            return
        self.logger.critical(
            "the %s channel %r died; restart the app", self.kind, self.name, exc_info=error
        )
        self._note_failure(error)

    def _note_failure(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            if self._on_failure is not None:
                self._on_failure(self)

    def _refuse_if_closed(self) -> None:
        if self._app.closed:
            raise ClosedError(f"the app of channel {self.name!r} was shut down; make a new one")

    def _refuse_other_loop(self) -> None:
        """Refuse a call from another event loop: what it waits for would never wake it."""
        task = self._task
        if task is None or task.done() or task.get_loop() is asyncio.get_running_loop():
            return
        raise UsageError(
            f"queue {self.name!r}: the app runs in another event loop; from a thread, as a plain "
            f"def handler is, call asyncio.run_coroutine_threadsafe(producer.send(...), "
            f"loop).result(), where loop is asyncio.get_running_loop() of where the app was started"
        )
