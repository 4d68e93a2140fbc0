"""MQApp: owns the broker and the channels, starts and stops them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any, Self, TypeVar

from mqtransport.broker import Broker, QueueInfo, QueueOptions
from mqtransport.brokers.select import make_broker
from mqtransport.channel import Channel, ConsumingChannel, Counts, ProducingChannel
from mqtransport.channel.base import QueueRef, Tools
from mqtransport.channel.options import ReceiveOptions, SendOptions
from mqtransport.clock import Clock, SystemClock, new_random
from mqtransport.errors import (
    ChannelError,
    ClosedError,
    ConfigurationError,
    ImportMessageError,
    UsageError,
)
from mqtransport.limits import is_fifo
from mqtransport.settings import MQSettings

logger = logging.getLogger("mqtransport.app")

PASSIVE_PING_S = 5.0
"""A good call on any channel within so many seconds is as good as a ping."""

RECEIVE_HEADROOM = 5
"""Deliveries that a created queue's own redrive policy leaves beyond ``max_deliveries``."""

_Options = TypeVar("_Options", SendOptions, ReceiveOptions)

FLUSH_GRACE_S = 0.15
"""Buffered sends get at least so long at a stop, after the consumers have ended."""


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a stop found and left.

    Attributes:
        consumed: per queue, what became of its deliveries since the app was made.
        unsent: per queue, buffered messages that the broker has not confirmed.
        seconds: how long the stop took.
    """

    consumed: Mapping[str, Counts] = field(default_factory=dict)
    unsent: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class MQApp:
    """Owns a broker and the channels of an application.

    Make one with :meth:`connect` (or ``SQSApp.create``), create channels, add participants,
    start it::

        app = await MQApp.connect()
        channel = await app.create_consuming_channel("orders")
        channel.add_consumer(MC_Order())
        await app.run_forever()

    Made from a broker directly, as in ``MQApp(MemoryBroker())``, it leaves ``connect`` of the
    broker to the caller and closes it at shutdown.

    Attributes:
        state: anything the application likes; consumers read ``mq_app.state``.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        settings: MQSettings | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._broker = broker
        self._settings = settings if settings is not None else MQSettings()
        self._tools = Tools(broker, clock or SystemClock(), random or new_random())
        self._consuming: dict[str, ConsumingChannel] = {}
        self._producing: dict[str, ProducingChannel] = {}
        self._running = False
        self._closed = False
        self._stopping: asyncio.Task[StopReport] | None = None
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None
        self.state: Any = None

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        *,
        settings: MQSettings | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        **options: Any,
    ) -> Self:
        """Make an app for the broker that the URL, the options or the environment name.

        Args:
            url: ``memory://`` or ``sqs://[region][?endpoint_url=...]``; None leaves it to the
                settings.
            settings: a settings object; None reads the environment.
            clock: source of time, for tests.
            random: source of ids and jitter, for tests.
            options: single settings by name, see :class:`MQSettings`; they win over both.

        Raises:
            ConfigurationError: the settings cannot be right, or an extra is missing.
        """
        chosen = options if url is None else {"url": url, **options}
        if url is not None and not url.startswith("http"):
            chosen.setdefault("broker", None)  # the argument names it; MQ_BROKER must not argue
        if settings is None:
            settings = MQSettings(**chosen)
        elif chosen:
            given = {name: getattr(settings, name) for name in settings.model_fields_set}
            settings = MQSettings(**{**given, **chosen})
        clock, random = clock or SystemClock(), random or new_random()
        broker = make_broker(settings, clock=clock, random=random)
        app = cls(broker, settings=settings, clock=clock, random=random)
        await broker.connect()
        return app

    # -- what it knows -----------------------------------------------------------------------

    @property
    def broker(self) -> Broker:
        """The driver."""
        return self._broker

    @property
    def settings(self) -> MQSettings:
        """The settings in force."""
        return self._settings

    @property
    def consuming_channels(self) -> list[ConsumingChannel]:
        """The consuming channels created so far."""
        return list(self._consuming.values())

    @property
    def producing_channels(self) -> list[ProducingChannel]:
        """The producing channels created so far."""
        return list(self._producing.values())

    def consuming_channel(self, queue: str) -> ConsumingChannel | None:
        """Return the consuming channel of the queue, None if there is none."""
        return self._consuming.get(queue)

    def producing_channel(self, queue: str) -> ProducingChannel | None:
        """Return the producing channel of the queue, None if there is none."""
        return self._producing.get(queue)

    @property
    def channels(self) -> list[Channel]:
        """All channels."""
        return [*self.consuming_channels, *self.producing_channels]

    @property
    def running(self) -> bool:
        """Whether the app is started and not being stopped."""
        return self._running and self._stopping is None

    @property
    def closed(self) -> bool:
        """Whether the app was shut down."""
        return self._closed

    @property
    def failure(self) -> BaseException | None:
        """What a channel died of; None while all is well."""
        return self._failure

    # -- broker and channels -----------------------------------------------------------------

    async def ping(self) -> None:
        """Check that the broker can be used.

        A good call on any channel within the last 5 s is proof enough. Else one cheap call is
        made; it creates nothing and sends nothing.

        Raises:
            ChannelError: the broker cannot be reached, or does not accept the credentials.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        since = self._tools.clock.monotonic() - PASSIVE_PING_S
        good = [channel.trouble.good_at for channel in self.channels]
        if any(at is not None and at >= since for at in good):
            return
        queues = dict.fromkeys(channel.queue.physical for channel in self.channels)
        await self._broker.ping(list(queues))

    async def create_consuming_channel(
        self, queue: str, *, dead_letter: str | None = None, **options: Any
    ) -> ConsumingChannel:
        """Open a queue for receiving.

        Args:
            queue: the queue's name; settings map it to the physical one.
            dead_letter: name of the dead letter queue: its producing channel is made if need
                be and used. With ``create_queues`` the queue gets a redrive policy to it, as a
                safety net behind the library's own.
            options: fields of :class:`ReceiveOptions` that differ from the settings.

        Raises:
            ChannelError: the queue is missing or not permitted, or the broker is unreachable.
            UsageError: the queue has a consuming channel already, or an option is wrong.
        """
        self._refuse_duplicate(queue, self._consuming, "consuming")
        chosen = _with_options(self._settings.receive_options(), options)
        target = None
        if dead_letter is not None:
            target = self._producing.get(dead_letter)
            if target is None:
                target = await self.create_producing_channel(dead_letter)
        ref = await self._open(queue, chosen, target)
        self._refuse_duplicate(queue, self._consuming, "consuming")  # made while we waited
        channel = ConsumingChannel(self, ref, self._tools, chosen)
        if target is not None:
            channel.use_dead_letter_queue(target)
        self._consuming[queue] = channel
        return channel

    async def create_producing_channel(self, queue: str, **options: Any) -> ProducingChannel:
        """Open a queue for sending.

        Args:
            queue: the queue's name; settings map it to the physical one.
            options: fields of :class:`SendOptions` that differ from the settings, as
                ``confirm=False``.

        Raises:
            ChannelError: the queue is missing or not permitted, or the broker is unreachable.
            UsageError: the queue has a producing channel already, or an option is wrong.
        """
        self._refuse_duplicate(queue, self._producing, "producing")
        chosen = _with_options(self._settings.send_options(), options)
        ref = await self._open(queue, None, None)
        self._refuse_duplicate(queue, self._producing, "producing")
        channel = ProducingChannel(self, ref, self._tools, chosen)
        self._producing[queue] = channel
        return channel

    # -- start and stop ----------------------------------------------------------------------

    async def start(self) -> None:
        """Start every channel.

        Raises:
            UsageError: there are no channels, one has no consumer, or the app runs already.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        if self._running:
            raise UsageError("the app is started already; stop() it before starting again")
        if not self.channels:
            raise UsageError("the app has no channels; create one before start()")
        for channel in self._consuming.values():
            channel.check_ready()
        self._failure = None
        self._ended.clear()
        self._running = True
        for producing in self._producing.values():
            producing.launch(self._channel_failed)
        for consuming in self._consuming.values():
            consuming.launch(self._channel_failed)
        logger.info("started: %s", self._summary())

    async def stop(self, timeout: float | None = None) -> StopReport:
        """Stop every channel gracefully; ``start`` may follow.

        No new messages are received; running handlers get ``timeout`` to finish, then they are
        cancelled and their messages given back; acks and buffered sends are flushed. Calling it
        again while it runs waits for the same stop.

        Args:
            timeout: seconds for handlers; None is the setting ``stop_timeout_s`` (25).

        Returns:
            Counts of what was done and what is left. Ends within ``timeout`` and one second.
        """
        if self._stopping is None:
            if not self._running:
                return self._report(0.0)
            timeout_s = self._settings.stop_timeout_s if timeout is None else timeout
            self._stopping = asyncio.create_task(self._stop(timeout_s), name="mqtransport stop")
        # Shielded: a caller who is cancelled must not leave handlers half stopped.
        return await asyncio.shield(self._stopping)

    async def shutdown(self, timeout: float | None = None) -> StopReport:
        """Stop, then close the broker for good; idempotent.

        Afterwards only ``state``, ``export_unsent_messages`` and ``shutdown`` may be used.

        Args:
            timeout: seconds for handlers; None is the setting ``stop_timeout_s`` (25).
        """
        try:
            return await self.stop(timeout)
        finally:
            self._closed = True
            await self._broker.aclose()

    async def run_forever(self, *, handle_signals: bool = True) -> None:
        """Start if need be, then wait until the app is stopped or a channel dies.

        Args:
            handle_signals: stop gracefully on SIGTERM and SIGINT; only in the main thread.

        Raises:
            ChannelError: a channel died; chained to what it died of.
        """
        if not self._running:
            await self.start()
        signals = self._install_signals() if handle_signals else []
        try:
            await self._ended.wait()
            if self._stopping is not None:
                await asyncio.shield(self._stopping)
        finally:
            for number in signals:
                asyncio.get_running_loop().remove_signal_handler(number)
        if self._failure is not None:
            raise ChannelError("a channel died; shut the app down") from self._failure

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    # -- unsent messages ---------------------------------------------------------------------

    def export_unsent_messages(self) -> dict[str, list[dict[str, Any]]]:
        """Return the buffered messages that no broker has confirmed, by queue name.

        Reading changes nothing; the result is plain data, fit for JSON. Queues without such
        messages are left out.
        """
        exported = {name: one.export_unsent() for name, one in self._producing.items()}
        return {name: records for name, records in exported.items() if records}

    def import_unsent_messages(self, unsent: Mapping[str, Iterable[object]]) -> None:
        """Take exported messages into the buffers of their channels: all of them or none.

        Args:
            unsent: what ``export_unsent_messages`` returned, here or in an older service.

        Raises:
            ImportMessageError: a queue has no producing channel, or a record is broken.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        if unknown := sorted(set(unsent) - set(self._producing)):
            raise ImportMessageError(
                f"there is no producing channel for {', '.join(map(repr, unknown))}; create it "
                f"before the import"
            )
        read = {name: self._producing[name].read_unsent(one) for name, one in unsent.items()}
        for name, entries in read.items():
            self._producing[name].take_unsent(entries)

    # -- inside ------------------------------------------------------------------------------

    async def _open(
        self, queue: str, receiving: ReceiveOptions | None, target: ProducingChannel | None
    ) -> QueueRef:
        physical = self._settings.physical_queue(queue)
        limits = self._broker.capabilities
        if is_fifo(physical) and not limits.ordered:
            raise ConfigurationError(
                f"queue {queue!r} is an ordered (.fifo) queue, which the broker "
                f"{limits.name!r} of this version does not support; use a standard queue"
            )
        if self._settings.create_queues or limits.creates_queues:
            await self._broker.declare(physical, _queue_options(receiving, target))
        info = await self._broker.describe(physical)
        _warn_if_pre_empted(queue, receiving, info)
        size = info.max_message_bytes or limits.max_message_bytes
        return QueueRef(queue, physical, min(size, limits.max_message_bytes))

    async def _stop(self, timeout_s: float) -> StopReport:
        clock = self._tools.clock
        started = clock.monotonic()
        try:
            await asyncio.gather(
                *(channel.drain_and_stop(timeout_s) for channel in self._consuming.values())
            )
            left_s = max(timeout_s - (clock.monotonic() - started), FLUSH_GRACE_S)
            await asyncio.gather(
                *(channel.flush_and_stop(left_s) for channel in self._producing.values())
            )
        finally:
            self._running = False
            self._stopping = None
            self._ended.set()
        report = self._report(clock.monotonic() - started)
        logger.info("stopped in %.1f s: %s", report.seconds, self._summary())
        return report

    def _report(self, seconds: float) -> StopReport:
        consumed = {name: channel.counts for name, channel in self._consuming.items()}
        unsent = {name: channel.unsent for name, channel in self._producing.items()}
        return StopReport(consumed, unsent, seconds)

    def _summary(self) -> str:
        parts = [f"consuming {one.name!r}" for one in self._consuming.values()]
        parts += [f"producing {one.name!r}" for one in self._producing.values()]
        return f"broker {self._broker.capabilities.name}, " + ", ".join(parts)

    def _channel_failed(self, channel: Channel) -> None:
        self._failure = self._failure or channel.failure
        self._ended.set()

    def _install_signals(self) -> list[int]:
        if threading.current_thread() is not threading.main_thread():
            return []
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number)
        return list(numbers)

    def _on_signal(self, number: int) -> None:
        if self._stopping is None and self._running:
            logger.info("%s received: stopping", signal.Signals(number).name)
            self._stopping = asyncio.create_task(
                self._stop(self._settings.stop_timeout_s), name="mqtransport stop"
            )

    def _refuse_duplicate(self, queue: str, channels: Mapping[str, Channel], kind: str) -> None:
        self._refuse_if_closed()
        physical = self._settings.physical_queue(queue)
        if queue in channels or any(one.queue.physical == physical for one in channels.values()):
            raise UsageError(
                f"queue {queue!r} has a {kind} channel already; an app has at most one per queue"
            )

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClosedError("the app was shut down; make a new one")


def _with_options(defaults: _Options, options: Mapping[str, Any]) -> _Options:
    known = {one.name for one in fields(defaults)}
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"unknown option {', '.join(unknown)}; a channel takes {', '.join(sorted(known))}"
        )
    return replace(defaults, **options)


def _warn_if_pre_empted(queue: str, receiving: ReceiveOptions | None, info: QueueInfo) -> None:
    """Warn if the queue's own redrive policy takes messages before the retry policy ends."""
    if receiving is None or info.max_receive_count is None:
        return
    wanted = receiving.delivery_limit
    if info.max_receive_count < wanted:
        logger.warning(
            "queue %r: its maxReceiveCount is %d, so the broker may dead-letter a message, without "
            "a reason, before the retry policy (max_attempts %d, max_deliveries %d) does; "
            "interrupted deliveries count too. Raise it to %d or more.",
            queue,
            info.max_receive_count,
            receiving.retry.max_attempts,
            wanted,
            wanted + RECEIVE_HEADROOM,
        )


def _queue_options(
    receiving: ReceiveOptions | None, target: ProducingChannel | None
) -> QueueOptions:
    if receiving is None:
        return QueueOptions()
    return QueueOptions(
        lease_s=receiving.lease_s,
        dead_letter_queue=target.queue.physical if target is not None else None,
        max_receive_count=receiving.delivery_limit + RECEIVE_HEADROOM,
    )
