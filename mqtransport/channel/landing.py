"""What becomes of messages when a request that carried them has ended."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from mqtransport.channel.base import QueueRef, Tools, Trouble
from mqtransport.channel.options import SendOptions
from mqtransport.channel.outbox import Entry, Outbox
from mqtransport.channel.send_errors import lost_reply, outcome_of, send_error
from mqtransport.errors import BrokerError, MessageRefusedError, RefusedError, SendError

Refused = tuple[Entry, RefusedError]
"""A message that the broker refused, and its words."""

MAX_REFUSED = 1000
"""Buffered messages that the broker refused are kept for export, the latest so many."""

FATAL_RETRY_S = 60.0
"""A queue that is missing or denied is asked for again at most this often."""


class Landing:
    """Confirms, puts back, or gives up the messages of one queue's requests.

    Args:
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        trouble: where failed sends are noted.
        outbox: where the messages are.
        refit: asked about every message that the broker refused: packs it anew if it does not
            fit the queue any more, and says why it cannot be sent; None: try it again. What must
            stay as it is, it only learns from.

    Attributes:
        confirmed: messages confirmed so far.
        refused: buffered messages that the broker will never take; for export.
        resume_at: monotonic time before which nothing is sent, after a call failed whole.
    """

    def __init__(
        self,
        queue: QueueRef,
        tools: Tools,
        options: SendOptions,
        trouble: Trouble,
        outbox: Outbox,
        refit: Callable[[Entry], Awaitable[str | None]],
    ) -> None:
        self._queue = queue
        self._tools = tools
        self._options = options
        self._trouble = trouble
        self._outbox = outbox
        self._refit = refit
        self.confirmed = 0
        self.refused: deque[Entry] = deque(maxlen=MAX_REFUSED)
        self.resume_at = -math.inf

    def answered(self, batch: list[Entry], answers: Sequence[object]) -> list[Refused]:
        """Deal with an answer, item by item; return what was refused.

        Raises:
            BrokerUnavailableError: it does not match the messages; nothing was dealt with.
        """
        if len(answers) != len(batch):
            raise lost_reply("the answer does not match the messages", self._queue.name)
        if all(isinstance(answer, str) and answer for answer in answers):  # nearly always
            self._trouble.good()
            for entry in batch:
                entry.in_flight = False
                self._confirm(entry)
            return []
        results = [self._proven(answer) for answer in answers]
        now = self._tools.clock.monotonic()
        refused: list[Refused] = []
        errors = [result for result in results if isinstance(result, BrokerError)]
        if len(errors) < len(results):
            self._trouble.good()
        elif errors[0].retryable:
            self._trouble.bad(errors[0])
        for entry, result in zip(batch, results, strict=True):
            entry.in_flight = False  # it has landed; what is unknown of it, the error says
            if not isinstance(result, BrokerError):
                self._confirm(entry)
            elif result.retryable:
                entry.failures += 1
                entry.maybe_sent |= result.maybe_done
                delay_s = self._options.backoff.delay_s(entry.failures, self._tools.random)
                self._outbox.put_later(entry, now + delay_s)
            elif isinstance(result, RefusedError):
                refused.append((entry, result))
            elif entry.waiter is not None:
                self._give_up_for(entry, result)
            else:  # an operator can mend it
                self._trouble.bad(result)
                self._outbox.put_later(entry, now + FATAL_RETRY_S)
        return refused

    def _proven(self, result: object) -> str | BrokerError:
        """Take nothing but a broker's id for a confirmation."""
        if (isinstance(result, str) and result) or isinstance(result, BrokerError):
            return result
        return lost_reply("the answer holds no message id", self._queue.name)

    def failed(self, batch: list[Entry], error: BrokerError) -> list[Refused]:
        """Deal with the failure of a whole call; return what was refused."""
        for entry in batch:
            entry.in_flight = False
            entry.maybe_sent |= error.maybe_done
        if isinstance(error, RefusedError):
            return self._isolate(batch, error)
        self._trouble.bad(error)
        delay_s = self._options.backoff.delay_s(self._trouble.failures, self._tools.random)
        if error.fatal:
            delay_s = FATAL_RETRY_S
        self.resume_at = self._tools.clock.monotonic() + delay_s
        if not error.retryable:
            for entry in batch:
                if entry.waiter is not None:
                    self._give_up_for(entry, error)
        self._outbox.put_back(batch)
        return []

    def _isolate(self, batch: list[Entry], error: RefusedError) -> list[Refused]:
        """A refused batch hides the one bad message: send each alone, then it shows."""
        if len(batch) == 1:
            return [(batch[0], error)]
        for entry in batch:
            entry.alone = True
        self._outbox.put_back(batch)
        return []

    async def refuse_or_refit(self, entry: Entry, error: RefusedError) -> None:
        """Try it once more if it was packed anew, else give it up."""
        why: str | None = ""
        if entry in self._outbox:
            try:
                why = await self._refit(entry)
            except asyncio.CancelledError:
                self._refuse(entry, error)
                raise
        if why is None:
            self._outbox.put_back([entry])
        else:
            self._refuse(entry, error, why)

    def _confirm(self, entry: Entry) -> None:
        self.confirmed += 1
        self._outbox.remove(entry)
        if entry.waiter is not None and not entry.waiter.done():
            entry.waiter.set_result(None)

    def _refuse(self, entry: Entry, error: BrokerError, why: str = "") -> None:
        """Give up one message for good."""
        why = why or str(error)
        refusal: SendError
        if entry.maybe_sent:  # an earlier attempt, whose reply was lost, may be in the queue
            why = f"refused in the end: {why}"
            refusal = send_error(self._queue.name, entry, why, "unknown", error)
        else:
            refusal = MessageRefusedError(
                f"message {entry.name!r} was refused by queue {self._queue.name!r}: {why}",
                queue=self._queue.name,
                message_id=entry.message.id,
                outcome="not_sent",
            )
            refusal.__cause__ = error
        if entry.waiter is None:
            self.refused.append(entry)
            self._trouble.logger.error("%s; it is kept for export", refusal)
        self.give_up(entry, refusal)

    def _give_up_for(self, entry: Entry, error: BrokerError) -> None:
        known = outcome_of(entry)
        self.give_up(entry, send_error(self._queue.name, entry, str(error), known, error))

    def give_up(self, entry: Entry, error: SendError) -> None:
        """Forget a message and tell its caller, if one waits."""
        self._outbox.remove(entry)
        if entry.waiter is not None and not entry.waiter.done():
            entry.waiter.set_exception(error)
