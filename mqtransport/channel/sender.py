"""The sending engine of a producing channel: outbox in, batches out, results back.

Whoever puts a message in, and whoever has ended a request, looks whether a batch may leave; a
worker then takes it (:mod:`mqtransport.channel.crew`). A whole-call failure pauses the queue
with backoff and then probes with one request; a failed entry is tried again alone.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from mqtransport.broker import Broker
from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.crew import Crew, is_cancelled
from mqtransport.channel.deadlines import Deadlines
from mqtransport.channel.landing import Landing
from mqtransport.channel.options import SendOptions
from mqtransport.channel.ordered_outbox import OrderedOutbox
from mqtransport.channel.outbox import Entry, Outbox
from mqtransport.channel.send_errors import lost_reply, outcome_of, send_error
from mqtransport.errors import BrokerError, NotStartedError, Outcome, SendError
from mqtransport.limits import is_fifo


class Sender:
    """Sends the messages of one queue.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        trouble: where failed sends are noted.
        refit: see :class:`mqtransport.channel.landing.Landing`.

    Attributes:
        outbox: what is not confirmed yet.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        options: SendOptions,
        trouble: Trouble,
        refit: Callable[[Entry], Awaitable[str | None]],
    ) -> None:
        self._queue = queue
        self._tools = tools
        self._options = options
        self._trouble = trouble
        self._broker: Broker = tools.broker
        box = OrderedOutbox if is_fifo(queue.physical) else Outbox
        self.outbox: Outbox = box(
            max_messages=options.max_buffered, max_bytes=options.max_buffered_bytes
        )
        self._landing = Landing(queue, tools, options, trouble, self.outbox, refit)
        # Kept, because to find it out takes a system call on Python 3.11; None while closed.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deadlines = Deadlines(self._expire)
        self._crew = Crew(self._work, self._look, options.max_in_flight)
        self._room: deque[asyncio.Future[None]] = deque()
        self._in_flight = 0
        self._partial_since: float | None = None
        self._lingering = False  # a look has been arranged for the end of the linger
        self._draining = False
        self._accepting = False

    @property
    def confirmed(self) -> int:
        """Messages confirmed so far."""
        return self._landing.confirmed

    @property
    def refused(self) -> deque[Entry]:
        """Buffered messages that the broker will never take; for export."""
        return self._landing.refused

    # -- what callers use ----------------------------------------------------------------

    async def send(self, entry: Entry, timeout_s: float) -> None:
        """Send one message and wait for its confirmation.

        Raises:
            SendError: not confirmed in time, or never to be confirmed; see ``outcome``.
            NotStartedError: the channel does not run.
        """
        self.require_running()
        if self._trouble.error is not None and self._trouble.error.fatal:
            self._landing.resume_at = -math.inf  # somebody waits: ask now, to answer now
        loop = self._loop or asyncio.get_running_loop()
        due = loop.time() + timeout_s
        entry.timeout_s = timeout_s
        if not self.outbox.has_room(entry.size_bytes):
            await self._wait_for_a_place(entry, due)
        waiter = entry.waiter = loop.create_future()
        self.put(entry)
        self._deadlines.add(entry, due)
        try:
            await waiter
        except asyncio.CancelledError:
            self.withdraw(entry)
            raise
        finally:
            self._deadlines.discard(entry)

    def start(self, entries: Sequence[Entry], timeout_s: float) -> bool:
        """Put several in, for their waiters to be awaited; False if that cannot be at once."""
        loop = self._loop
        if loop is None or not self._accepting or self._trouble.error is not None:
            return False
        if not self.outbox.has_room_for(entries):
            return False
        for entry in entries:
            entry.timeout_s = timeout_s
            entry.waiter = loop.create_future()
            self.put(entry)
            self._deadlines.add(entry, loop.time() + timeout_s)
        return True

    async def _wait_for_a_place(self, entry: Entry, due: float) -> None:
        try:
            async with asyncio.timeout_at(due):
                await self._wait_for_room(entry.size_bytes, confirmed=True)
        except TimeoutError:
            self._release_room()  # it may have been given a turn, which is the next one's now
            raise self._timed_out(entry) from self._trouble.error
        except asyncio.CancelledError:
            self._release_room()
            raise
        if not self._accepting:
            raise self._error(entry, "the channel was stopped", "not_sent")

    async def buffer(self, entry: Entry, timeout_s: float) -> None:
        """Put one message into the buffer, waiting for room.

        Raises:
            SendError: the buffer stayed full; the message is not in it.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_for_room(entry.size_bytes, confirmed=False)
        except TimeoutError:
            raise self._error(
                entry, f"the buffer stayed full for {timeout_s:g} s", "not_sent"
            ) from self._trouble.error
        finally:
            self._release_room()
        self.put(entry)

    def put(self, entry: Entry) -> None:
        """Put one message into the outbox, also beyond its bounds."""
        self.outbox.add(entry)
        # While a partial batch lingers a timer is set, which one message more does not change.
        if not self._lingering or self.outbox.has_full(self._broker.capabilities.max_batch):
            self._look()

    def take_in(self, entries: Iterable[Entry]) -> None:
        """Put imported messages into the outbox, unless they are there; none stays refused."""
        present = {entry.message.id for entry in self.outbox}
        taken: set[str] = set()
        for entry in entries:
            taken.add(entry.message.id)
            if entry.message.id not in present:
                present.add(entry.message.id)
                self.put(entry)
        for entry in [one for one in self.refused if one.message.id in taken]:
            self.refused.remove(entry)

    # -- the engine ----------------------------------------------------------------------

    def open(self) -> None:
        """Accept messages to be confirmed; :meth:`run` is about to start."""
        self._accepting, self._draining = True, False
        self._loop = asyncio.get_running_loop()
        self._in_flight = 0
        self._crew.clear()
        self._landing.resume_at = -math.inf
        self._deadlines.clear()

    def drain(self) -> None:
        """Let :meth:`run` end as soon as the outbox is empty."""
        self._draining = True
        self._crew.call_all()

    def close(self) -> None:
        """Fail every caller who still waits; buffered messages stay for export."""
        self._accepting, self._loop = False, None
        self._deadlines.clear()
        self._crew.clear()
        for entry in list(self.outbox):
            if entry.waiter is not None:
                stopped = self._error(entry, "the channel was stopped", outcome_of(entry))
                self._landing.give_up(entry, stopped)
        self.outbox.put_back(list(self.outbox))  # those that a cancelled task has left
        self._release_room()

    async def run(self) -> None:
        """Send until drained."""
        self._look()
        await self._crew.run(lambda: self._draining and not self.outbox)

    async def _work(self) -> None:
        """Send one batch after the other; no more once cancelled, if a driver swallows that too."""
        while not is_cancelled() and (batch := await self._next_batch()):
            await self._fly(batch)

    async def _next_batch(self) -> list[Entry]:
        """Wait for the next batch; empty when this worker is needed no more."""
        limits = self._broker.capabilities
        while True:
            self._crew.arrived()
            now = self._tools.clock.monotonic()
            pause_s = self._pause_s(now)
            if pause_s <= 0:
                self._partial_since, self._lingering = None, False
                if batch := self.outbox.take_batch(
                    max_messages=limits.max_batch, max_bytes=limits.max_batch_bytes
                ):
                    self._in_flight += 1
                    if self.outbox.ready(now) or self.outbox.next_due() is not None:
                        self._look()
                    return batch
            elif self._draining and not self.outbox:
                self._crew.call_all()
                return []
            else:
                self._crew.look_later(now, pause_s)
                if not await self._crew.wait():
                    return []

    def _look(self) -> None:
        """Have a worker take what may leave now; if nothing may, look again when something may."""
        if self._loop is None or self._crew.called:
            return
        if self._draining:
            self._crew.call_all()
            return
        now = self._tools.clock.monotonic()
        pause_s = self._pause_s(now)
        if pause_s <= 0:
            self._crew.call()
        else:
            self._crew.look_later(now, pause_s)

    def _pause_s(self, now: float) -> float:
        """Return how long not to send: 0 is at once, infinite is until something happens."""
        self._lingering = False
        probing = self._trouble.failures > 0
        if self._in_flight >= (1 if probing else self._options.max_in_flight):
            return math.inf
        ready = self.outbox.ready(now)
        if not ready:
            due = self.outbox.next_due()
            return math.inf if due is None else due - now
        if now < self._landing.resume_at:
            return self._landing.resume_at - now
        full = ready >= self._broker.capabilities.max_batch
        if full or self._draining or not self._in_flight:
            return 0.0
        if self._partial_since is None:
            self._partial_since = now
        self._lingering = True
        return self._partial_since + self._options.linger_s - now

    async def _fly(self, batch: list[Entry]) -> None:
        landed = False
        try:
            answers = await self._broker.send(
                self._queue.physical, [entry.message for entry in batch]
            )
            landed = True
            refused = self._landing.answered(batch, answers)
        except BrokerError as error:
            landed = True
            refused = self._landing.failed(batch, error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            landed = True  # nobody cancelled us: it comes from inside the driver
            refused = self._landing.failed(
                batch, lost_reply("the call was cancelled", self._queue.name)
            )
        finally:
            if not landed:  # cancelled, or a defect in the driver: nobody knows
                for entry in batch:
                    entry.maybe_sent = True
                self.outbox.put_back(batch)
            self._in_flight -= 1
            self._release_room()
        for entry, refusal in refused:
            self._look()  # nothing else has to wait for this
            await self._landing.refuse_or_refit(entry, refusal)
            self._release_room()

    def _expire(self, entry: Entry) -> None:
        """The time of its caller is over. In flight, its result is ignored."""
        if entry.waiter is not None and not entry.waiter.done():
            self._landing.give_up(entry, self._timed_out(entry))
            self._release_room()

    def withdraw(self, entry: Entry) -> None:
        """Its caller is gone. In flight, its result is ignored; else it never leaves."""
        waiter = entry.waiter
        if waiter is not None and not waiter.cancel() and not waiter.cancelled():
            waiter.exception()  # retrieved: the caller was cancelled and will not read it
        self._deadlines.discard(entry)
        self.outbox.remove(entry)
        self._release_room()

    # -- room and errors -----------------------------------------------------------------

    async def _wait_for_room(self, size_bytes: int, *, confirmed: bool) -> None:
        while not self.outbox.has_room(size_bytes) and (self._accepting or not confirmed):
            turn = asyncio.get_running_loop().create_future()
            self._room.append(turn)
            await turn

    def _release_room(self) -> None:
        """Wake as many as there is room for, first come first served; all, when closed."""
        if not self._room:
            return
        free = self.outbox.free if self._accepting else len(self._room)
        while self._room and free > 0:
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1

    def require_running(self) -> None:
        """Raise NotStartedError unless messages can be confirmed."""
        if not self._accepting:
            raise NotStartedError(
                f"queue {self._queue.name!r}: a confirmed send needs a running channel; "
                f"call app.start() first"
            )

    def _timed_out(self, entry: Entry) -> SendError:
        cause = self._trouble.error
        last = f"; last error: {cause}" if cause else ""
        why = f"not confirmed within {entry.timeout_s:g} s{last}"
        return self._error(entry, why, outcome_of(entry), cause)

    def _error(
        self, entry: Entry, why: str, outcome: Outcome, cause: BrokerError | None = None
    ) -> SendError:
        return send_error(self._queue.name, entry, why, outcome, cause)
