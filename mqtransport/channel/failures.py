"""What becomes of a delivery that failed: run again, given back, or dead-lettered.

Every path ends in exactly one call of the settler, in another run in place, or in a lost lease.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from mqtransport.channel.base import QueueRef, Tools
from mqtransport.channel.calling import Call
from mqtransport.channel.dead_letters import DeadLetters
from mqtransport.channel.in_hand import Hand, Held, Interruption, Outcome
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.settling import Settler
from mqtransport.errors import (
    HandlerTimeoutError,
    InvalidMessageError,
    RetryMessage,
    UndeliverableError,
    UnknownMessageError,
)
from mqtransport.policy import Release, after_failure


class Failures:
    """Decides about the failed deliveries of one channel.

    Attributes:
        dead_letters: where messages go that cannot be handled.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries.
        settler: settles them.
        logger: the channel's.
        ordered: whether the queue is an ordered one.
        watch: called with a delivery whose handler was cancelled and that goes on, so that its
            lease is kept again.
        release: gives a failed delivery back after a delay, and its group with it.
        on_fenced: called with a delivery that failed and will be run again in place.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        options: ReceiveOptions,
        hand: Hand,
        settler: Settler,
        logger: logging.Logger,
        *,
        ordered: bool,
        watch: Callable[[Held], None],
        release: Callable[[Held, float], None],
        on_fenced: Callable[[Held], None],
    ) -> None:
        self._queue = queue
        self._tools = tools
        self._options = options
        self._hand = hand
        self._settler = settler
        self._logger = logger
        self._ordered = ordered
        self._watch = watch
        self._release = release
        self._on_fenced = on_fenced
        self.dead_letters = DeadLetters(queue, tools, logger)

    async def decide(self, held: Held, error: BaseException, call: Call | None) -> float | None:
        """Decide what follows. If the channel cancelled the handler, its reason counts.

        Args:
            held: the delivery.
            error: what its handler, or what was done before it, raised.
            call: of the consumer; None if none was found.

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
            self._watch(held)  # what follows may take longer than its lease
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
        if self._ordered and fits and not self._hand.stopping:
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
            if cancelled_from_outside(held):
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

    def _log_failure(self, held: Held, error: BaseException, label: str | None, fate: str) -> None:
        # What was asked for, and what never ran, has no traceback worth a page.
        asked = isinstance(error, RetryMessage)
        trace = None if asked or isinstance(error, UndeliverableError) else error
        self._logger.log(
            logging.INFO if asked else logging.WARNING,
            "queue %r: message %s%s failed in %s (attempt %d, %s%s): %s",
            self._queue.name,
            held.message_id,
            f" ({held.name!r})" if held.name is not None else "",
            label or "the channel",
            held.attempt,
            type(error).__name__,
            f": {error}" if isinstance(error, UnknownMessageError) else "",
            fate,
            exc_info=trace,
        )


def cancelled_from_outside(held: Held) -> bool:
    """Whether somebody else than the channel cancelled the current task.

    Without any cancellation a CancelledError comes from inside the handler; that is a failure
    like any other.
    """
    task = asyncio.current_task()
    ours = 0 if held.interruption is None else 1
    return task is not None and task.cancelling() > ours
