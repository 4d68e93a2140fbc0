"""What happens to one delivery between receive and settle.

Every path ends in exactly one call of the settler, or in a lost lease. The checks come in
the order of what they need: attributes, delivery count, consumer, body, handler. What follows
from a failure is decided in :mod:`mqtransport.channel.failures`. On an ordered queue a failed
delivery is retried in place for a while, because its group waits behind it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from mqtransport import wire
from mqtransport.channel.base import QueueRef, Tools
from mqtransport.channel.calling import Call, run_in_thread
from mqtransport.channel.failures import Failures, cancelled_from_outside
from mqtransport.channel.in_hand import Hand, Held, Outcome
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.outgoing import summarise
from mqtransport.channel.settling import Settler
from mqtransport.errors import (
    DeliveryLimitError,
    InvalidMessageError,
    MalformedMessageError,
    UnknownMessageError,
)
from mqtransport.message import Delivery, RawDelivery

if TYPE_CHECKING:
    from mqtransport.app import MQApp

UNPACK_INLINE_BYTES = 64 * 1024
"""Larger compressed bodies are unpacked in a thread, so that the loop is not held up."""


class Handling:
    """Handles deliveries of one channel.

    Attributes:
        calls: the consumers' functions by message name.

    Args:
        app: handed to consumers that ask for it.
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries.
        settler: settles them.
        failures: decides about those that fail.
        logger: the channel's.
        on_run: called with each delivery whose handler is about to run, so that its time is kept.
        on_done: called with a delivery whose handler finished although its lease was lost.
    """

    def __init__(
        self,
        app: MQApp,
        queue: QueueRef,
        tools: Tools,
        options: ReceiveOptions,
        hand: Hand,
        settler: Settler,
        failures: Failures,
        logger: logging.Logger,
        *,
        on_run: Callable[[Held], None],
        on_done: Callable[[Held], None],
    ) -> None:
        self._app = app
        self._queue = queue
        self._clock = tools.clock
        self._delivery_limit = options.delivery_limit
        self._max_processing_s = options.max_processing_s
        self._hand = hand
        self._settler = settler
        self._failures = failures
        self._logger = logger
        self._on_run = on_run
        self._on_done = on_done
        # Without prefetch the hand holds no more than may run; a semaphore takes 0.5 us.
        self._slots = asyncio.Semaphore(options.concurrency) if options.prefetch else None
        self.calls: dict[str, Call] = {}

    async def handle(self, held: Held) -> bool:
        """Handle one delivery to its end; return whether its handler ended well."""
        pause_s: float | None = None
        while True:
            call: Call | None = None
            try:
                if pause_s is not None:
                    await asyncio.sleep(pause_s)  # also for 0 s: others get their turn
                held.name, compressed = wire.read_name(held.raw.attributes, self.calls)
                if held.name == wire.ACCESS_CHECK:
                    self._settler.ack(held)
                    return True
                if held.raw.attempt + held.retries > self._delivery_limit:
                    self._check_delivery_count(held)
                call = self.calls.get(held.name)
                if call is None:
                    raise self._unknown(held.name)
                text = await self._unpack(held.raw) if compressed else held.raw.body
                body = _validate(call.model, text)
                if call.wants_delivery:
                    held.delivery = self._delivery(held, held.name)
                if self._slots is not None:
                    await self._slots.acquire()
                try:
                    await self._start(held, call, body)
                finally:
                    held.run_until = math.inf
                    if self._slots is not None:
                        self._slots.release()
            except asyncio.CancelledError as cancelled:
                if cancelled_from_outside(held):
                    raise
                pause_s = await self._failures.decide(held, cancelled, call)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # the supervised edge of user code; panics are none
                pause_s = await self._failures.decide(held, error, call)
            else:
                # Also when it was cancelled and finished all the same: the work is done.
                if held.outcome is None:
                    self._settler.ack(held)
                else:
                    self._on_done(held)
                return True
            if pause_s is None:
                return False

    # -- the steps -----------------------------------------------------------------------

    def _check_delivery_count(self, held: Held) -> None:
        """Refuse what may be what kills the process.

        Not what came in behind it: its count rose because of the one before it, and it is judged
        when it comes first itself. Runs in place count, or one that asks for them had no end.
        """
        limit = self._delivery_limit
        runs = held.retries + 1 if held.waited else held.attempt
        if runs > limit:
            raise DeliveryLimitError(f"delivered {runs} times; the limit is {limit}")

    def _unknown(self, name: str) -> UnknownMessageError:
        known = ", ".join(map(repr, sorted(self.calls)))
        return UnknownMessageError(f"no consumer for {name!r}, only for {known}")

    async def _unpack(self, raw: RawDelivery) -> str:
        if len(raw.body) > UNPACK_INLINE_BYTES:
            return await run_in_thread(wire.body_text, raw, compressed=True)  # type: ignore[no-any-return]
        return wire.body_text(raw, compressed=True)

    def _delivery(self, held: Held, name: str) -> Delivery:
        raw, facts = held.raw, wire.read_facts(held.raw.attributes)
        return Delivery(
            id=facts.id or raw.broker_id,
            name=name,
            headers=facts.headers,
            attempt=held.attempt,
            queue=self._queue.name,
            sent_at=facts.sent_at if facts.sent_at is not None else raw.sent_at,
            received_at=self._clock.time(),
            group=raw.group,
            dead_letter=facts.dead_letter,
        )

    def _start(self, held: Held, call: Call, body: BaseModel) -> Awaitable[Any]:
        """Call the consumer; what it returns is to be awaited."""
        held.started = True
        held.run_until = self._clock.monotonic() + self._max_processing_s
        self._on_run(held)
        if call.threaded:
            return self._run_thread(held, call, body)
        return call.start(body, self._app, held.delivery)

    async def _run_thread(self, held: Held, call: Call, body: BaseModel) -> None:
        """Run a plain ``def``. A thread cannot be cancelled: its delivery is never released."""
        thread = asyncio.ensure_future(call.start(body, self._app, held.delivery))
        try:
            await asyncio.shield(thread)
        except asyncio.CancelledError:
            outside = cancelled_from_outside(held)
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

    def _lose(self, held: Held, why: str) -> None:
        if self._hand.finish(held, Outcome.LEASE_LOST):
            self._logger.warning(
                "the lease of message %s (attempt %d) lapses: %s",
                held.message_id,
                held.raw.attempt,
                why,
            )


def _validate(model: type[BaseModel], text: str) -> BaseModel:
    """Return the body, given as JSON, as the model.

    What is called is all that ``model_validate_json`` does; the call around it takes a quarter
    of its time (0.3 of 1.2 us).
    """
    try:
        body: BaseModel = model.__pydantic_validator__.validate_json(text)
        return body
    except ValidationError as error:
        # pydantic's text would quote the body; ours does not.
        kind = MalformedMessageError if _is_malformed(error) else InvalidMessageError
        raise kind(summarise(error)) from None


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
