"""MQApp: owns the broker and the channels, starts and stops them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from random import Random
from typing import Any, Self

from mqtransport.broker import Broker
from mqtransport.brokers.select import make_broker
from mqtransport.channel import Channel, ConsumingChannel, ProducingChannel
from mqtransport.channel.base import Tools
from mqtransport.channel.registry import Registry
from mqtransport.clock import Clock, SystemClock, new_random
from mqtransport.errors import ChannelError, ClosedError, UsageError
from mqtransport.report import StopReport
from mqtransport.settings import MQSettings
from mqtransport.signals import on_stop_signals

logger = logging.getLogger("mqtransport.app")

PASSIVE_PING_S = 5.0
"""A good call on any channel within so many seconds is as good as a ping."""

FLUSH_GRACE_S = 0.15
"""Buffered sends get at least so long at a stop, after the consumers have ended."""


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
        self._registry = Registry(self, self._tools, self._settings)
        self._running = False
        self._closed = False
        self._stopping: asyncio.Task[StopReport] | None = None
        self._closing: asyncio.Task[StopReport] | None = None
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
        settings = MQSettings.merged(settings, url, options)
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
        return list(self._registry.consuming.values())

    @property
    def producing_channels(self) -> list[ProducingChannel]:
        """The producing channels created so far."""
        return list(self._registry.producing.values())

    def consuming_channel(self, queue: str) -> ConsumingChannel | None:
        """Return the consuming channel of the queue, None if there is none."""
        return self._registry.consuming.get(queue)

    def producing_channel(self, queue: str) -> ProducingChannel | None:
        """Return the producing channel of the queue, None if there is none."""
        return self._registry.producing.get(queue)

    @property
    def channels(self) -> list[Channel]:
        """All channels."""
        return self._registry.all

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
        self._refuse_if_closed()
        return await self._registry.open_consuming(queue, dead_letter, options)

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
        self._refuse_if_closed()
        return await self._registry.open_producing(queue, options)

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
        for channel in self._registry.consuming.values():
            channel.check_ready()
        self._failure = None
        self._ended.clear()
        self._running = True
        for producing in self._registry.producing.values():
            producing.launch(self._channel_failed)
        for consuming in self._registry.consuming.values():
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
        stopping = self._stopping
        if stopping is None:
            if not self._running:
                return self._report(0.0)
            timeout_s = self._settings.stop_timeout_s if timeout is None else timeout
            stopping = self._begin_stop(timeout_s)
        # Shielded: a caller who is cancelled must not leave handlers half stopped.
        return await asyncio.shield(stopping)

    async def shutdown(self, timeout: float | None = None) -> StopReport:
        """Stop, then close the broker for good; idempotent.

        Afterwards only ``state``, ``export_unsent_messages`` and ``shutdown`` may be used.

        Args:
            timeout: seconds for handlers; None is the setting ``stop_timeout_s`` (25).
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._shutdown(timeout), name="mqtransport close")
        # Shielded: a caller who is cancelled must not close the broker under a running stop.
        return await asyncio.shield(self._closing)

    async def run_forever(self, *, handle_signals: bool = True) -> None:
        """Start if need be, then wait until the app is stopped or a channel dies.

        Args:
            handle_signals: stop gracefully on SIGTERM and SIGINT; only in the main thread.

        Raises:
            ChannelError: a channel died; chained to what it died of.
        """
        if not self._running:
            await self.start()
        with on_stop_signals(self._on_signal) if handle_signals else nullcontext():
            await self._ended.wait()
            if self._stopping is not None:
                await asyncio.shield(self._stopping)
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
        return self._registry.export_unsent()

    def import_unsent_messages(self, unsent: Mapping[str, Iterable[object]]) -> None:
        """Take exported messages into the buffers of their channels: all of them or none.

        Args:
            unsent: what ``export_unsent_messages`` returned, here or in an older service.

        Raises:
            ImportMessageError: a queue has no producing channel, or a record is broken.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        self._registry.import_unsent(unsent)

    # -- inside ------------------------------------------------------------------------------

    async def _shutdown(self, timeout: float | None) -> StopReport:
        try:
            return await self.stop(timeout)
        finally:
            self._closed = True  # only now: handlers that finish may still send
            await self._broker.aclose()

    async def _stop(self, timeout_s: float) -> StopReport:
        clock = self._tools.clock
        started = clock.monotonic()
        try:
            await asyncio.gather(
                *(
                    channel.drain_and_stop(timeout_s)
                    for channel in self._registry.consuming.values()
                )
            )
            left_s = max(timeout_s - (clock.monotonic() - started), FLUSH_GRACE_S)
            await asyncio.gather(
                *(channel.flush_and_stop(left_s) for channel in self._registry.producing.values())
            )
        finally:
            self._running = False
            self._stopping = None
            self._ended.set()
        report = self._report(clock.monotonic() - started)
        logger.info("stopped in %.1f s: %s", report.seconds, self._summary())
        return report

    def _report(self, seconds: float) -> StopReport:
        consumed = {name: channel.counts for name, channel in self._registry.consuming.items()}
        unsent = {name: channel.unsent for name, channel in self._registry.producing.items()}
        return StopReport(consumed, unsent, seconds)

    def _summary(self) -> str:
        parts = [f"consuming {one.name!r}" for one in self._registry.consuming.values()]
        parts += [f"producing {one.name!r}" for one in self._registry.producing.values()]
        return f"broker {self._broker.capabilities.name}, " + ", ".join(parts)

    def _channel_failed(self, channel: Channel) -> None:
        self._failure = self._failure or channel.failure
        self._ended.set()

    def _on_signal(self, name: str) -> None:
        if self._stopping is None and self._running:
            logger.info("%s received: stopping", name)
            self._begin_stop(self._settings.stop_timeout_s)

    def _begin_stop(self, timeout_s: float) -> asyncio.Task[StopReport]:
        self._stopping = asyncio.create_task(self._stop(timeout_s), name="mqtransport stop")
        return self._stopping

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClosedError("the app was shut down; make a new one")
