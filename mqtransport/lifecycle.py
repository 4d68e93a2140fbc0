"""The life of an app: start, stop, shut down, run until told to end."""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import nullcontext
from typing import Self

from mqtransport.broker import Broker
from mqtransport.channel import Channel
from mqtransport.channel.registry import Registry
from mqtransport.clock import Clock
from mqtransport.errors import ChannelError, ClosedError, UsageError
from mqtransport.report import StopReport
from mqtransport.signals import on_stop_signals

logger = logging.getLogger("mqtransport.app")

FLUSH_GRACE_S = 0.15
"""Buffered sends get at least so long at a stop, after the consumers have ended."""


class Lifecycle:
    """What :class:`mqtransport.MQApp` does with its channels over time.

    A stop and a shutdown run as tasks of their own, which every caller waits for: one who is
    cancelled cannot leave handlers half stopped.
    """

    def __init__(
        self, broker: Broker, registry: Registry, clock: Clock, stop_timeout_s: float
    ) -> None:
        self._broker = broker
        self._registry = registry
        self._clock = clock
        self._stop_timeout_s = stop_timeout_s
        self._running = False
        self._closed = False
        self._stopping: asyncio.Task[StopReport] | None = None
        self._closing: asyncio.Task[StopReport] | None = None
        self._ended = asyncio.Event()
        self._failure: BaseException | None = None

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

    async def start(self) -> None:
        """Start every channel.

        Raises:
            UsageError: there are no channels, one has no consumer, or the app runs already.
            ClosedError: the app was shut down.
        """
        self._refuse_if_closed()
        if self._running:
            raise UsageError("the app is started already; stop() it before starting again")
        if not self._registry.all:
            raise UsageError("the app has no channels; create one before start()")
        for channel in self._registry.consuming.values():
            channel.check_ready()
        self._registry.warn_of_misspelt_settings()
        self._registry.log_findings()
        self._failure = None
        self._ended.clear()
        self._running = True
        for producing in self._registry.producing.values():
            producing.launch(self._channel_failed)
        for consuming in self._registry.consuming.values():
            consuming.launch(self._channel_failed)
        logger.info(
            "started on broker %s: %s",
            self._broker.capabilities.name,
            ", ".join(f"{channel.kind} {channel.name!r}" for channel in self._registry.all),
        )

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
        _check_timeout(timeout)
        stopping = self._stopping
        if stopping is None:
            if not self._running:
                return self._report(0.0)
            timeout_s = self._stop_timeout_s if timeout is None else timeout
            stopping = self._begin_stop(timeout_s)
        # Shielded: a caller who is cancelled must not leave handlers half stopped.
        return await asyncio.shield(stopping)

    async def shutdown(self, timeout: float | None = None) -> StopReport:
        """Stop, then close the broker for good; idempotent.

        Afterwards only ``state``, ``export_unsent_messages`` and ``shutdown`` may be used.

        Args:
            timeout: seconds for handlers; None is the setting ``stop_timeout_s`` (25).
        """
        _check_timeout(timeout)
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

    async def _shutdown(self, timeout: float | None) -> StopReport:
        try:
            return await self.stop(timeout)
        finally:
            self._closed = True  # only now: handlers that finish may still send
            await self._broker.aclose()

    async def _stop(self, timeout_s: float) -> StopReport:
        clock = self._clock
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
        report.log()
        return report

    def _report(self, seconds: float) -> StopReport:
        consumed = {name: channel.counts for name, channel in self._registry.consuming.items()}
        unsent = {name: channel.unsent for name, channel in self._registry.producing.items()}
        return StopReport(consumed, unsent, seconds)

    def _channel_failed(self, channel: Channel) -> None:
        self._failure = self._failure or channel.failure
        self._ended.set()

    def _on_signal(self, name: str) -> None:
        if self._stopping is None and self._running:
            logger.info("%s received: stopping", name)
            self._begin_stop(self._stop_timeout_s)

    def _begin_stop(self, timeout_s: float) -> asyncio.Task[StopReport]:
        self._stopping = asyncio.create_task(self._stop(timeout_s), name="mqtransport stop")
        return self._stopping

    def _refuse_if_closed(self) -> None:
        if self._closed or self._closing is not None:
            raise ClosedError("the app was shut down; make a new one")


def _check_timeout(timeout: object) -> None:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (number and 0 <= timeout < math.inf):  # type: ignore[operator]
        raise UsageError(f"timeout must be a number of seconds, 0 or more, not {timeout!r}")
