"""From declarations to a running MQApp, and back to nothing."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi_mq.declared import Declarations
from fastapi_mq.start_warnings import warn_if_memory_is_split, warn_if_nobody_consumes
from mqtransport import MQApp, MQSettings
from mqtransport.errors import ChannelError, UsageError

logger = logging.getLogger("fastapi_mq")

Create = Callable[[], Awaitable[MQApp]]


class Starting:
    """One start of an application's MQApp.

    Args:
        declared: its producers and consumers.
        settings: a settings object; None reads the environment.
        create: makes the MQApp instead.
        timeout_s: after which the start fails.
    """

    def __init__(
        self,
        declared: Declarations,
        settings: MQSettings | None,
        create: Create | None,
        timeout_s: float,
    ) -> None:
        self._declared = declared
        self._settings = settings
        self._create = create
        self._timeout_s = timeout_s
        self._opening = ""

    @asynccontextmanager
    async def app(self) -> AsyncIterator[MQApp]:
        """Run the app: connected, built and started inside, shut down behind."""
        mq_app: MQApp | None = None
        limit = asyncio.timeout(self._timeout_s)
        try:
            try:
                async with limit:
                    self._opening = "the broker"
                    mq_app = await self._connect()
                    await self._build(mq_app)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise self._start_timed_out(mq_app) from None
            warn_if_memory_is_split(mq_app)
            yield mq_app
        finally:
            if mq_app is not None:
                await _shut_down(mq_app)

    def _start_timed_out(self, mq_app: MQApp | None) -> ChannelError:
        broker = mq_app.broker.capabilities.name if mq_app is not None else "of MQ_URL"
        return ChannelError(
            f"the message broker {broker} did not answer within {self._timeout_s:g} s while "
            f"opening {self._opening}; is it up, and are MQ_URL, MQ_REGION and MQ_QUEUE_<NAME> "
            f"right?"
        )

    async def _connect(self) -> MQApp:
        if self._create is None:
            return await MQApp.connect(settings=self._settings)
        making: object = self._create()
        made = await making if inspect.isawaitable(making) else None
        if not isinstance(made, MQApp):
            raise UsageError("FastMQ: create= must be an async function that returns an MQApp")
        return made

    async def _build(self, mq_app: MQApp) -> None:
        """Make the channels and participants that were declared, then start."""
        for queue, consumed in self._declared.consumed.items():
            self._opening = f"queue {queue!r}"
            channel = mq_app.consuming_channel(queue)
            if channel is None:
                channel = await mq_app.create_consuming_channel(queue, **consumed.options())
            elif consumed.options():
                raise UsageError(
                    f"queue {queue!r}: create= has made its channel, so {consumed.options()} must "
                    f"be given there, not to mq.consumer()"
                )
            for name, source in consumed.consumers.items():
                channel.add_consumer(source())
                logger.info("queue %r: messages named %r are consumed", queue, name)
        for queue, producers in self._declared.producers.items():
            self._opening = f"queue {queue!r}"
            target = mq_app.producing_channel(queue)
            if target is None:
                target = await mq_app.create_producing_channel(queue)
            for name, source in producers.items():
                target.add_producer(source())
                logger.info("queue %r: messages named %r are produced", queue, name)
        warn_if_nobody_consumes(mq_app)
        if mq_app.channels:
            await mq_app.start()
        else:
            await mq_app.ping()


async def _shut_down(mq_app: MQApp) -> None:
    """Shut down to the end: the user's own teardown must not run beside working handlers."""
    closing = asyncio.ensure_future(mq_app.shutdown())
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait({closing})  # bounded: a stop ends within its timeout
        raise
