"""What becomes of deliveries between the poll that brought them and their outcome.

A delivery that nothing stands before is handled at once; the others wait
in line, leased and unstarted, for how the one before them ends. Suspects, which were delivered
more often than the retry policy explains, run one at a time: see :class:`Suspects`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mqtransport.channel.base import QueueRef, Tools
from mqtransport.channel.failures import Failures
from mqtransport.channel.handling import Handling
from mqtransport.channel.in_hand import Hand, Held, Interruption, Outcome
from mqtransport.channel.leases import margin_s
from mqtransport.channel.lines import Handled, Lines, Suspects
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.runners import Runners
from mqtransport.channel.settling import Settler
from mqtransport.limits import is_fifo
from mqtransport.message import RawDelivery

if TYPE_CHECKING:
    from mqtransport.app import MQApp

DONE = (Outcome.ACKED, Outcome.DEAD_LETTERED)

_LATE_S = 1.0
"""The end of a lease is noticed at once, unless nothing could run at the time."""

_STOOD_STILL = (
    "; that was noticed %.0f s late: the event loop was blocked, or the process was stopped. A "
    "handler that blocks belongs in a plain def, which runs on a thread"
)


class Intake:
    """Takes deliveries of one channel in and sees each to its outcome.

    Args:
        app: handed to consumers that ask for it.
        queue: the queue.
        tools: broker, clock, randomness.
        options: the channel's options.
        hand: the deliveries; its ``on_outcome`` is set here.
        settler: settles them.
        logger: the channel's.
        watch: called with every delivery taken in, and with every one that is about to run, so
            that its lease and its time are kept.
        blocked: tells whether the poller waits for free slots.
        on_defect: called with what a handling task died of, should one ever die.

    Attributes:
        handling: runs the consumers.
        failures: decides about the deliveries that fail.
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
        watch: Callable[[Held], None],
        blocked: Callable[[], bool],
        on_defect: Callable[[BaseException], None],
    ) -> None:
        self._tools = tools
        self._lease_s = options.lease_s
        self._margin_s = margin_s(options.lease_s)
        self._hand = hand
        self._settler = settler
        self._logger = logger
        self._watch = watch
        self._blocked = blocked
        self._on_defect = on_defect
        self._ordered = is_fifo(queue.physical)
        self._lines = Lines(ordered=self._ordered)
        self._done_before = Handled()
        self._suspects = Suspects(options.retry.max_attempts, tools.random)
        self.failures = Failures(
            queue,
            tools,
            options,
            hand,
            settler,
            logger,
            ordered=self._ordered,
            watch=watch,
            release=self._release,
            on_fenced=self._end_turn,
        )
        self.handling = Handling(
            app,
            queue,
            tools,
            options,
            hand,
            settler,
            self.failures,
            logger,
            on_run=watch,
            on_done=self._remember,
        )
        self._runners = Runners(self.handling.handle, self._handled)
        hand.on_outcome = self._follow

    def open(self) -> None:
        """Start what is admitted from now on."""
        self._hand.stopping = False
        self._runners.open()

    def stop(self) -> None:
        """Start nothing more, and give back what has not been started; of a group the last first.

        What is admitted from now on is given back at once. Only the second delivery of a message
        follows the first: given back, it would be run elsewhere while the first still runs.
        """
        self._hand.stopping = True
        for held in reversed(list(self._hand)):
            if held.task is None:
                if self._ordered or self._lines.is_first(held):
                    self._settler.release(held, 0.0)
            elif not held.started:
                held.interrupt(Interruption.STOP)

    def admit(self, deliveries: Sequence[RawDelivery], deadline: float) -> None:
        """Take deliveries in, whose leases end at the monotonic time ``deadline``."""
        now, renew_at = self._tools.clock.monotonic(), deadline - self._margin_s
        taken = [Held(raw, now, deadline, renew_at) for raw in deliveries]
        self._hand.add(*taken)
        self._watch(taken[0])  # which stands for all: their leases end together
        for held in taken:  # before any is started: an eager task may fail at once
            held.waited = not self._lines.join(held)
        for held in taken:
            if not held.waited or (self._hand.stopping and self._ordered):
                self._start(held)

    def lose(self, held: Held) -> None:
        """End a delivery whose lease is gone: its handler is cancelled, nothing is settled."""
        running = held.task is not None and not held.task.done()
        late_s = self._tools.clock.monotonic() - max(held.deadline, held.received)
        self._logger.warning(
            "the lease of message %s (attempt %d) is lost%s%s",
            held.message_id,
            held.attempt,
            "; its handler is cancelled" if running else "",
            _STOOD_STILL % late_s if late_s >= _LATE_S else "",
        )
        self._hand.finish(held, Outcome.LEASE_LOST)
        held.interrupt(Interruption.LEASE_LOST)

    def on_blocked(self) -> None:
        """Free slots early, because the poller waits for some."""
        self._settler.hasten()
        self._flush_if_blocked()

    def _flush_if_blocked(self) -> None:
        """Free slots at once: nobody else will end soon, so waiting for company is in vain."""
        if self._hand.unfinished == 0 and self._blocked():
            self._settler.flush()

    def _start(self, held: Held) -> None:
        """Begin with a delivery that nothing stands before."""
        if held.settling is not None or held.outcome is not None:
            return
        if self._hand.stopping:
            self._settler.release(held, 0.0)  # the last poll brought it; nobody will run it
            return
        outcome = self._recall(held) if self._done_before else None
        if outcome is not None:
            self._settler.ack(held, outcome)
            self._flush_for_followers(held)
        elif self._suspects.suspects(held):
            self._suspects.wait(held)
            asyncio.get_running_loop().call_soon(self._start_suspect)
        else:
            self._runners.start(held)

    def _recall(self, held: Held) -> Outcome | None:
        return self._done_before.recall(held.raw.broker_id, self._tools.clock.monotonic())

    def _start_suspect(self) -> None:
        """Begin with the next suspect, if none is at work."""
        if not self._hand.stopping and (held := self._suspects.next()) is not None:
            self._runners.start(held)

    def _handled(self, held: Held, error: BaseException | None) -> None:
        """Look at how a handling ended: by a settle under way, or not."""
        if held.outcome is not None:
            self._hand.handler_ended(held)
        if error is not None:
            self._hand.finish(held, Outcome.LEASE_LOST)
            self._on_defect(error)
        elif held.settling is None and held.interruption is Interruption.STOP:
            self._release(held, 0.0)  # stopped before its first step
        elif held.settling is None:
            self._hand.finish(held, Outcome.LEASE_LOST)  # cancelled from outside
        self._flush_for_followers(held)

    def _flush_for_followers(self, held: Held) -> None:
        if self._lines.is_followed(held) or self._suspects.at_work(held):
            self._settler.flush()  # they wait for its ack, which must not wait for company
        else:
            self._flush_if_blocked()

    def _release(self, held: Held, delay_s: float) -> None:
        """Give a delivery back; of a group also what waits behind it, the last first."""
        if held.started and not self._hand.stopping:
            self._suspects.survived(held)
        if self._ordered:
            self._give_back_behind(held)
        self._settler.release(held, delay_s)

    def _follow(self, held: Held) -> None:
        """Let what stands behind a delivery follow from its outcome."""
        if self._suspects:
            self._end_turn(held)
        if held.outcome is Outcome.LEASE_LOST and held.settling in DONE:
            self._remember(held)
        if self._ordered and held.outcome not in DONE:
            self._give_back_behind(held)  # it comes back, and they may not overtake it
            return
        following = self._lines.leave(held)
        if following is None:
            return
        if held.outcome in DONE and following.raw.broker_id == held.raw.broker_id:
            self._settler.ack(following, held.outcome)  # another delivery of the same message
            self._flush_for_followers(following)
        else:
            self._start(following)

    def _end_turn(self, held: Held) -> None:
        """Let the next suspect start: this one is settled, or it ran and the process lives."""
        if self._suspects.ended(held):
            asyncio.get_running_loop().call_soon(self._start_suspect)

    def _give_back_behind(self, held: Held) -> None:
        for one in reversed(self._lines.cut(held)):
            self._settler.release(one, 0.0)

    def _remember(self, held: Held) -> None:
        """Remember a message that is done but could not be deleted, for a lease after its own."""
        outcome = held.settling if held.settling in DONE else Outcome.ACKED
        until = max(held.deadline, self._tools.clock.monotonic()) + self._lease_s
        self._done_before.add(held.raw.broker_id, outcome, until)
