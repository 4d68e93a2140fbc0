"""What the campaigns share: apps with short timeouts, a consumer that keeps the journal."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from mqtransport import Consumer, Delivery, MQApp, MQSettings
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.clock import Clock
from tests.contract.support import check_balanced
from tests.faults.journal import Item, Journal

PATH = {"fast_path": True}
"""Which way to SQS the apps take; the fixture ``_path`` sets it."""


@asynccontextmanager
async def app_on(
    url: str,
    *,
    timeout_s: float = 5.0,
    poll_connections: int = 50,
    keys: tuple[str, str] | None = ("key", "secret"),
    broker_clock: Clock | None = None,
    random: Random | None = None,
    **settings: Any,
) -> AsyncIterator[MQApp]:
    """An app on an SQS endpoint whose call timeout can be set; shut down at the end.

    Args:
        url: the endpoint.
        timeout_s: the broker's call timeout.
        poll_connections: most receives at a time.
        keys: access key id and secret key; None is the AWS default chain.
        broker_clock: the driver's clock.
        random: source of ids and jitter.
        settings: fields of MQSettings.
    """
    access_key, secret_key = keys or (None, None)
    broker = SQSBroker(
        region="us-east-1",
        endpoint_url=url,
        access_key=access_key,
        secret_key=secret_key,
        timeout_s=timeout_s,
        poll_connections=poll_connections,
        **PATH,
        clock=broker_clock,
    )
    await broker.connect()
    app = MQApp(broker, settings=MQSettings(**{"wait_s": 1.0, **settings}), random=random)
    try:
        yield app
    finally:
        await app.shutdown(timeout=3)


class Recorder(Consumer[Item]):
    """Lets ``behave`` act, which may sleep or raise, and then notes the message as handled."""

    name = "item"

    def __init__(
        self,
        journal: Journal,
        behave: Callable[[Item, Delivery], Awaitable[None]] | None = None,
    ) -> None:
        self.journal = journal
        self.behave = behave

    async def consume(self, item: Item, delivery: Delivery) -> None:
        if self.behave is not None:
            await self.behave(item, delivery)
        self.journal.done(item, delivery)


async def until(condition: Callable[[], bool], what: Callable[[], object], within_s: float) -> None:
    """Wait until the condition holds; bounded. ``what`` says what was seen if it never does."""
    try:
        async with asyncio.timeout(within_s):
            while not condition():  # noqa: ASYNC110 - a state of the double or of the app
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {what()}") from None


def check_alive(app: MQApp) -> None:
    """No task died: neither noticed by the app nor by a channel."""
    assert app.failure is None, app.failure
    for channel in app.channels:
        assert channel.failure is None, (channel.name, channel.failure)


def check_ended(app: MQApp) -> None:
    """No task died, and every delivery has its one outcome; call it after the shutdown."""
    check_alive(app)
    for channel in app.consuming_channels:
        check_balanced(channel.counts)
        assert channel.counts.stuck == 0, channel.counts
