"""What happens to one delivery between receive and settle.

Every path ends in exactly one call of the settler, or in a lost lease. The checks come in
the order of what they need: attributes, delivery count, consumer, body, handler. On an ordered
queue a failed delivery is retried in place for a while, because its group waits behind it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from mqtransport import wire
from mqtransport.channel.base import QueueRef, Tools
from mqtransport.channel.calling import Call, run_in_thread
from mqtransport.channel.dead_letters import DeadLetters
from mqtransport.channel.in_hand import Hand, Held, Interruption, Outcome
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.outgoing import summarise
from mqtransport.channel.settling import Settler
from mqtransport.errors import (
    DeliveryLimitError,
    HandlerTimeoutError,
    InvalidMessageError,
    MalformedMessageError,
    RetryMessage,
    UndeliverableError,
    UnknownMessageError,
)
from mqtransport.message import Delivery
from mqtransport.policy import Release, after_failure

if TYPE_CHECKING:
    from mqtransport.app import MQApp

UNPACK_INLINE_BYTES = 64 * 1024
"""Larger compressed bodies are unpacked in a thread, so that the loop is not held up."""


class Handling:
    """Handles deliveries of one channel.

    Attributes:
        calls: the consumers' functions by message name.
        dead_letters: where messages go that cannot be handled.
        stopping: whether the channel stops, so that nothing is retried in place any more.

    Args:
        app: handed to consumers that ask for it.
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries.
        settler: settles them.
        logger: the channel's.
        ordered: whether the queue is an ordered one.
        release: gives a failed delivery back after a delay, and its group with it.
        on_done: called with a delivery whose handler finished although its lease was lost.
        on_fenced: called with a delivery that failed and will be run again in place.
    """

    def __init__(
        self,
        app: MQApp,
        queue: QueueRef,
        tools: Tools,
        options: ReceiveOptions,
        hand: Hand,
        settler: Settler,
        logger: logging.Logger,
        *,
        ordered: bool,
        release: Callable[[Held, float], None],
        on_done: Callable[[Held], None],
        on_fenced: Callable[[Held], None],
    ) -> None:
        self._app = app
        self._queue = queue
        self._tools = tools
        self._options = options
        self._hand = hand
        self._settler = settler
        self._logger = logger
        self._ordered = ordered
        self._release = release
        self._on_done = on_done
        self._on_fenced = on_fenced
        self._slots = asyncio.Semaphore(options.concurrency)
        self.stopping = False
        self.calls: dict[str, Call] = {}
        self.dead_letters = DeadLetters(queue, tools, logger)

    async def handle(self, held: Held) -> None:
        """Handle one delivery to its end; runs as a task of its own."""
        pause_s: float | None = 0.0
        while pause_s is not None:
            pause_s = await self._attempt(held, pause_s)

    async def _attempt(self, held: Held, pause_s: float) -> float | None:
        """Run it once, after a pause; return the pause before the next run in place, if any."""
        call: Call | None = None
        try:
            if held.retries:
                await asyncio.sleep(pause_s)  # also for 0 s: others get their turn
            envelope = wire.read_envelope(held.raw)
            held.delivery = self._delivery(held, envelope)
            if envelope.name == wire.ACCESS_CHECK:
                self._settler.ack(held)
                return None
            self._check_delivery_count(held)
            call = self._find_call(envelope)
            body = await self._read_body(held, envelope, call)
            async with self._slots:
                await self._run(held, call, body, held.delivery)
        except asyncio.CancelledError as cancelled:
            if _cancelled_from_outside(held):
                raise
            return await self._ended_badly(held, cancelled, call)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # the supervised edge of user code; panics are no Exceptions
            return await self._ended_badly(held, error, call)
        # Also when it was cancelled and finished all the same: the work is done.
        if held.outcome is None:
            self._settler.ack(held)
        else:
            self._on_done(held)
        return None

    # -- the steps -----------------------------------------------------------------------

    def _check_delivery_count(self, held: Held) -> None:
        """Refuse what may be what kills the process.

        Not what came in behind it: its count rose because of the one before it, and it is judged
        when it comes first itself. Runs in place count, or one that asks for them had no end.
        """
        limit = self._options.delivery_limit
        runs = held.retries + 1 if held.waited else held.attempt
        if runs > limit:
            raise DeliveryLimitError(f"delivered {runs} times; the limit is {limit}")

    def _find_call(self, envelope: wire.Envelope) -> Call:
        call = self.calls.get(envelope.name)
        if call is None:
            known = ", ".join(map(repr, sorted(self.calls)))
            raise UnknownMessageError(f"no consumer for {envelope.name!r}, only for {known}")
        return call

    async def _read_body(self, held: Held, envelope: wire.Envelope, call: Call) -> BaseModel:
        if envelope.compressed and len(held.raw.body) > UNPACK_INLINE_BYTES:
            text = await run_in_thread(wire.body_text, held.raw, compressed=True)
        else:
            text = wire.body_text(held.raw, compressed=envelope.compressed)
        try:
            return call.model.model_validate_json(text)
        except ValidationError as error:
            # pydantic's text would quote the body; ours does not.
            kind = MalformedMessageError if _is_malformed(error) else InvalidMessageError
            raise kind(summarise(error)) from None

    def _delivery(self, held: Held, envelope: wire.Envelope) -> Delivery:
        raw, facts = held.raw, envelope.facts
        return Delivery(
            id=facts.id or raw.broker_id,
            name=envelope.name,
            headers=facts.headers,
            attempt=held.attempt,
            queue=self._queue.name,
            sent_at=facts.sent_at if facts.sent_at is not None else raw.sent_at,
            received_at=self._tools.clock.time(),
            group=raw.group,
            dead_letter=facts.dead_letter,
        )

    async def _run(self, held: Held, call: Call, body: BaseModel, delivery: Delivery) -> None:
        loop = asyncio.get_running_loop()
        limit = loop.call_later(
            self._options.max_processing_s, held.interrupt, Interruption.TIME_LIMIT
        )
        held.started = True
        try:
            if call.threaded:
                await self._run_thread(held, call, body, delivery)
            else:
                await call.start(body, self._app, delivery)
        finally:
            limit.cancel()

    async def _run_thread(
        self, held: Held, call: Call, body: BaseModel, delivery: Delivery
    ) -> None:
        """Run a plain ``def``. A thread cannot be cancelled: its delivery is never released."""
        thread = asyncio.ensure_future(call.start(body, self._app, delivery))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            outside = _cancelled_from_outside(held)
            if not outside and not thread.done():
                self._lose(held, "its handler runs in a thread, which cannot be cancelled")
                # Its slot stays taken until the thread ends, so that threads are bounded.
                await asyncio.wait({thread})
            if not _has_finished(thread):
                raise
            if outside:
                self._on_done(held)
                raise
            # It finished before it could be told to end: the work is done.
        result = thread.result()
        if inspect.isawaitable(result):
            await result

    # -- the endings ---------------------------------------------------------------------

    async def _ended_badly(
        self, held: Held, error: BaseException, call: Call | None
    ) -> float | None:
        """Decide what follows. If the channel cancelled the handler, its reason counts.

        Returns:
            Seconds to wait before it is run again in place; None if it is settled, or lost.
        """
        interruption, held.interruption = held.interruption, None
        if interruption is not None and (task := asyncio.current_task()) is not None:
            task.uncancel()  # our own cancellation has arrived
        if held.outcome is not None:
            return None  # the lease is lost: no ack, no copy
        if interruption is Interruption.STOP:
            self._release(held, 0.0)
            return None
        if interruption is Interruption.TIME_LIMIT:
            limit_s = self._options.max_processing_s
            timeout = HandlerTimeoutError(f"the handler ran longer than {limit_s:g} s")
            timeout.__cause__ = error
            error = timeout
        return await self._failed(held, error, call.label if call is not None else None)

    async def _failed(self, held: Held, error: BaseException, label: str | None) -> float | None:
        attempt, retry = held.attempt, self._options.retry
        action = after_failure(error, attempt=attempt, retry=retry, random=self._tools.random)
        backoff_s = retry.backoff.delay_s(attempt, self._tools.random)
        if isinstance(action, Release):
            return self._again(held, error, label, action.delay_s)
        if self._is_released_by_policy(error):
            self._log_failure(held, error, label, f"released for {backoff_s:.1f} s")
            self._release(held, backoff_s)
            return None
        await self._dead_letter(held, error, label, backoff_s)
        return None

    def _again(
        self, held: Held, error: BaseException, label: str | None, delay_s: float
    ) -> float | None:
        """Let it be run again: in place, while its group can wait for it, else released."""
        fits = held.fenced_s + delay_s <= self._options.max_fence_s
        if self._ordered and fits and not self.stopping:
            self._log_failure(held, error, label, f"again in place in {delay_s:.1f} s")
            held.retries += 1
            held.fenced_s += delay_s
            held.started = False
            self._on_fenced(held)
            return delay_s
        self._log_failure(held, error, label, f"again in {delay_s:.1f} s")
        self._release(held, delay_s)
        return None

    async def _dead_letter(
        self, held: Held, error: BaseException, label: str | None, backoff_s: float
    ) -> None:
        held.started = True  # a copy under way is worth waiting for
        try:
            moved = await self.dead_letters.copy(held, error, label)
        except asyncio.CancelledError:
            if _cancelled_from_outside(held):
                raise
            moved, backoff_s = False, 0.0  # the channel stops, or the lease is lost
        if moved:
            self._log_failure(held, error, label, f"moved to {self.dead_letters.name!r}")
            self._settler.ack(held, Outcome.DEAD_LETTERED)
        else:
            self._log_failure(held, error, label, f"released for {backoff_s:.1f} s")
            self._release(held, backoff_s)

    def _is_released_by_policy(self, error: BaseException) -> bool:
        if isinstance(error, UnknownMessageError):
            return self._options.on_unknown == "release"
        if isinstance(error, InvalidMessageError):
            return self._options.on_invalid == "release"
        return False

    def _lose(self, held: Held, why: str) -> None:
        if self._hand.finish(held, Outcome.LEASE_LOST):
            self._logger.warning(
                "the lease of message %s (attempt %d) lapses: %s",
                held.message_id,
                held.raw.attempt,
                why,
            )

    def _log_failure(self, held: Held, error: BaseException, label: str | None, fate: str) -> None:
        # What was asked for, and what never ran, has no traceback worth a page.
        asked = isinstance(error, RetryMessage)
        trace = None if asked or isinstance(error, UndeliverableError) else error
        self._logger.log(
            logging.INFO if asked else logging.WARNING,
            "queue %r: message %s%s failed in %s (attempt %d, %s%s): %s",
            self._queue.name,
            held.message_id,
            f" ({held.delivery.name!r})" if held.delivery is not None else "",
            label or "the channel",
            held.attempt,
            type(error).__name__,
            f": {error}" if isinstance(error, UnknownMessageError) else "",
            fate,
            exc_info=trace,
        )


def _is_malformed(error: ValidationError) -> bool:
    """Whether the body is no JSON object at all; such an error stands alone."""
    if error.error_count() != 1:
        return False
    (found,) = error.errors(include_input=False, include_url=False, include_context=False)
    return found["type"] == "json_invalid" or (found["type"] == "model_type" and not found["loc"])


def _has_finished(thread: asyncio.Future[Any]) -> bool:
    """Whether a thread has done all its work; what it returned to be awaited is not done yet."""
    if not thread.done() or thread.cancelled() or thread.exception() is not None:
        return False
    return not inspect.isawaitable(thread.result())


def _cancelled_from_outside(held: Held) -> bool:
    """Whether somebody else than the channel cancelled the current task.

    Without any cancellation a CancelledError comes from inside the handler; that is a failure
    like any other.
    """
    task = asyncio.current_task()
    ours = 0 if held.interruption is None else 1
    return task is not None and task.cancelling() > ours
