"""MQApp: owns the broker and the channels, starts and stops them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, Self

from mqtransport.broker import Broker
from mqtransport.channel import Channel, ConsumingChannel, ProducingChannel
from mqtransport.channel.base import Tools
from mqtransport.channel.registry import Registry
from mqtransport.clock import Clock, SystemClock, new_random
from mqtransport.errors import UsageError
from mqtransport.findings import Finding
from mqtransport.lifecycle import Lifecycle
from mqtransport.select import make_broker
from mqtransport.settings import MQSettings

PASSIVE_PING_S = 5.0
"""A good call on any channel within so many seconds, none failed since, is as good as a ping."""


class MQApp(Lifecycle):
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
        self._settings = settings if settings is not None else MQSettings()
        self._tools = Tools(broker, clock or SystemClock(), random or new_random())
        registry = Registry(self, self._tools, self._settings)
        super().__init__(broker, registry, self._tools.clock, self._settings.stop_timeout_s)
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
            url: ``memory://``, ``sqlite:///file.db`` or ``sqs://[region][?endpoint_url=...]``;
                None leaves it to the settings.
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
        connected = False
        try:
            await broker.connect()
            connected = True
        finally:
            if not connected:
                await broker.aclose()
        return app

    # -- what it knows -----------------------------------------------------------------------

    @property
    def broker(self) -> Broker:
        """The driver."""
        return self._broker

    @property
    def clock(self) -> Clock:
        """The source of time."""
        return self._tools.clock

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

    # -- broker and channels -----------------------------------------------------------------

    async def ping(self) -> None:
        """Check that the broker can be used.

        A good call on any channel within the last 5 s is proof enough, unless one failed since.
        Else one cheap call is made; it creates nothing and sends nothing.

        Raises:
            ChannelError: the broker cannot be reached, or does not accept the credentials.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        troubles = [channel.trouble for channel in self.channels]
        good_at = max((one.good_at for one in troubles if one.good_at is not None), default=None)
        bad_at = max((one.bad_at for one in troubles if one.bad_at is not None), default=-math.inf)
        since = max(self._tools.clock.monotonic() - PASSIVE_PING_S, bad_at)
        if good_at is not None and good_at >= since:
            return
        queues = dict.fromkeys(channel.queue.physical for channel in self.channels)
        await self._broker.ping(list(queues))

    async def check(self) -> list[Finding]:
        """Look at the queues of all channels and say what does not fit the code.

        A fresh look, at any time before ``shutdown``; it changes nothing. On SQS it makes one
        ``GetQueueAttributes`` per queue, and one per dead letter queue that only a redrive policy
        names. Where that is denied, there is nothing to say. ``start`` logs the same findings by
        what was known when the channels were created.

        Returns:
            The findings, errors first; empty if all is well.

        Raises:
            ChannelError: the broker cannot be reached, or did not answer within twice its timeout.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        return await self._registry.check()

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
            UsageError: the queue has a consuming channel already, an option is wrong, or only one
                of the queue and its dead letter queue is an ordered queue.
        """
        self._refuse_if_closed()
        if self._running:
            raise UsageError(
                f"queue {queue!r}: create consuming channels before start(), or stop() first"
            )
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
        channel = await self._registry.open_producing(queue, options)
        if self.running:
            channel.launch(self._channel_failed)
        return channel

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
