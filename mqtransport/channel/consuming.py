"""ConsumingChannel: takes messages out of a queue and hands each to its consumer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mqtransport.channel.base import END_GRACE_S, Channel, QueueRef, Tools, Trouble
from mqtransport.channel.calling import read_call
from mqtransport.channel.dead_letters import refuse_mixed_kinds
from mqtransport.channel.in_hand import Counts, Hand, Interruption, Outcome
from mqtransport.channel.intake import Intake
from mqtransport.channel.leases import LeaseKeeper
from mqtransport.channel.options import ReceiveOptions
from mqtransport.channel.polling import Poller
from mqtransport.channel.settling import Settler
from mqtransport.errors import ChannelError, UsageError
from mqtransport.limits import is_fifo
from mqtransport.participants import Consumer, check_participant

if TYPE_CHECKING:
    from mqtransport.app import MQApp
    from mqtransport.channel.producing import ProducingChannel

CANCEL_GRACE_S = 0.25
"""After the stop's timeout, cancelled handlers get so long to end."""

SETTLE_GRACE_S = 0.3
"""Then releases and acks get so long to be confirmed, and what the handlers left of theirs."""


class ConsumingChannel(Channel):
    """Takes messages out of one queue. Made by ``app.create_consuming_channel(queue)``."""

    kind = "consuming"

    def __init__(self, app: MQApp, queue: QueueRef, tools: Tools, options: ReceiveOptions) -> None:
        super().__init__(app, queue, tools)
        self._options = options
        self._consumers: dict[str, Consumer[Any]] = {}
        self._hand = Hand(options.concurrency + options.prefetch)
        label = f"consuming channel {queue.name!r} (settling)"
        self.settle_trouble = Trouble(tools.clock, self.logger, label)
        self._keeper = LeaseKeeper(
            queue,
            tools,
            options.lease_s,
            self._hand,
            self.settle_trouble,
            on_lost=lambda held: self._intake.lose(held),
        )
        self._settler = Settler(
            queue,
            tools,
            self._hand,
            self.settle_trouble,
            # The next message of a group is not delivered before the ack of the last.
            linger_s=0.0
            if is_fifo(queue.physical)
            else min(options.ack_linger_s, options.lease_s / 10),
            calm=lambda: self._poller.open > 0,
            give_up_s=options.lease_s,
            on_failed=self._keeper.watch,
            on_defect=self._fail,
        )
        self._intake = Intake(
            app,
            queue,
            tools,
            options,
            self._hand,
            self._settler,
            self.logger,
            watch=self._keeper.watch,
            blocked=lambda: self._poller.blocked,
            on_defect=self._fail,
        )
        self._calls = self._intake.handling.calls
        self._dead_letters = self._intake.failures.dead_letters
        self._poller = self._new_poller()
        self._polling: asyncio.Task[None] | None = None

    # -- what an application uses ----------------------------------------------------------

    @property
    def options(self) -> ReceiveOptions:
        """How this channel receives."""
        return self._options

    @property
    def consumers(self) -> list[Consumer[Any]]:
        """The consumers added so far."""
        return list(self._consumers.values())

    @property
    def dead_letter_queue(self) -> ProducingChannel | None:
        """The channel of the dead letter queue, if one is set."""
        return self._dead_letters.target

    @property
    def counts(self) -> Counts:
        """What became of the deliveries so far; a copy."""
        return dataclasses.replace(self._hand.counts, stuck=self._hand.stuck)

    @property
    def polls(self) -> int:
        """Polls answered since the last start."""
        return self._poller.polls

    @property
    def dead_letter_failures(self) -> int:
        """Copies in a row that the dead letter queue did not take."""
        return self._dead_letters.failures

    @property
    def dead_letter_failed_at(self) -> float | None:
        """Monotonic time of the last of them; None before the first."""
        return self._dead_letters.failed_at

    @property
    def wedged(self) -> bool:
        """Whether only a restart helps: a poll that does not end, or all slots stuck."""
        if not self.running or self._poller.stopping:
            return False
        since = self._poller.polling_since
        if since is not None:
            return self._tools.clock.monotonic() - since > 2 * self._poller.limit_s
        return self._hand.stuck >= self._hand.capacity

    def add_consumer(self, consumer: Consumer[Any]) -> None:
        """Register the consumer for its message name.

        Raises:
            UsageError: its declaration is wrong, its name is taken here, or it belongs to
                another channel.
        """
        self._refuse_if_closed()
        check_participant(consumer, Consumer, "add_consumer")
        if consumer.name in self._consumers:
            raise UsageError(
                f"channel {self.name!r} has a consumer named {consumer.name!r} already; "
                f"one consumer handles one kind of message"
            )
        if consumer._channel is not None and not consumer._channel.app.closed:
            raise UsageError(f"consumer {consumer.name!r} belongs to another channel already")
        label = type(consumer).__name__
        call = read_call(consumer.consume, consumer.Model, label, dict(vars(type(consumer))))
        self._calls[consumer.name] = call
        self._consumers[consumer.name] = consumer
        consumer._channel = self

    def use_dead_letter_queue(self, channel: ProducingChannel) -> None:
        """Send messages that cannot be handled to the queue of this channel.

        Raises:
            UsageError: it belongs to another app, is this very queue, or only one of the two is
                an ordered queue.
        """
        self._refuse_if_closed()
        if channel.app is not self.app:
            raise UsageError(
                f"queue {self.name!r}: its dead letter channel {channel.name!r} belongs to "
                f"another app; create it on this one"
            )
        if channel.queue.physical == self.queue.physical:
            raise UsageError(f"queue {self.name!r} cannot be its own dead letter queue")
        refuse_mixed_kinds(self.name, self.queue.physical, channel.name, channel.queue.physical)
        self._dead_letters.target = channel

    # -- its life --------------------------------------------------------------------------

    def check_ready(self) -> None:
        """Raise UsageError if the channel has no consumer."""
        if not self._consumers:
            raise UsageError(
                f"consuming channel {self.name!r} has no consumer: every message would be "
                f"unknown; call add_consumer() before start()"
            )

    def launch(self, on_failure: Callable[[Channel], None]) -> None:
        """Start receiving; ``on_failure`` is called once if the main task ever dies."""
        if not self.running:
            self._intake.open()
            self._poller = self._new_poller()
            self._polling = None
        super().launch(on_failure)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keeper.run())
            self._polling = group.create_task(self._poller.run())
            await asyncio.wait({self._polling})
            if not self._poller.stopping:
                raise ChannelError(f"polling of queue {self.name!r} ended by itself")
            await self._emptied()
            keeping.cancel()

    async def _emptied(self) -> None:
        """Wait until nothing is in hand; ``stop`` bounds it by cancelling."""
        while len(self._hand):
            self._hand.changed.clear()
            await self._hand.changed.wait()

    async def drain_and_stop(self, timeout_s: float) -> Counts:
        """Stop: no new receives, handlers get ``timeout_s``, then everything is given back.

        Ends within ``timeout_s`` and a little less than one second.

        Returns:
            The counts of the channel; ``in_hand`` is 0.
        """
        clock = self._tools.clock
        deadline = clock.monotonic() + max(timeout_s, 0.0)
        task, polling = self._task, self._polling
        self._stopping = True
        self._poller.stop()
        self._intake.stop()
        if self._tools.broker.capabilities.receive_cancellable and polling is not None:
            polling.cancel()
        await self._wait_for_work(polling, deadline)
        await self._settler.drain(max(deadline - clock.monotonic(), 0.0))
        if polling is not None and not polling.done():
            self._hand.counts.abandoned_polls += self._poller.open
            polling.cancel()
        settled_by = clock.monotonic() + CANCEL_GRACE_S + SETTLE_GRACE_S
        await self._cancel_handlers()
        await self._settler.drain(settled_by - clock.monotonic())
        await self._settler.close()
        for held in self._hand:
            self._hand.finish(held, Outcome.LEASE_LOST)
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=END_GRACE_S)
        return self.counts

    async def _wait_for_work(self, polling: asyncio.Task[None] | None, deadline: float) -> None:
        """Wait for the open poll and the handlers, until the deadline."""
        while True:
            tasks = {held.task for held in self._hand if held.task and not held.task.done()}
            if polling is not None and not polling.done():
                tasks.add(polling)
            left_s = deadline - self._tools.clock.monotonic()
            if not tasks or left_s <= 0:
                return
            await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def _cancel_handlers(self) -> None:
        for held in self._hand:
            held.interrupt(Interruption.STOP)
        tasks = {held.task for held in self._hand if held.task and not held.task.done()}
        if tasks:
            await asyncio.wait(tasks, timeout=CANCEL_GRACE_S)
        for held in self._hand:
            # It ignores its cancellation: releasing it would let it run twice at once.
            if held.task is not None and not held.task.done():
                self._hand.finish(held, Outcome.LEASE_LOST)

    def _fail(self, error: BaseException) -> None:
        super()._fail(error)
        if self._task is not None and not self._task.done():
            self._task.cancel()

    def _new_poller(self) -> Poller:
        return Poller(
            self._queue,
            self._tools,
            self._options,
            self._hand,
            self.trouble,
            admit=self._intake.admit,
            on_blocked=self._intake.on_blocked,
        )
