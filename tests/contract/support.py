"""What the contract tests share: participants made on the spot, apps on the strict double."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from mqtransport import Backoff, Consumer, MQApp, Producer, Retry
from mqtransport.channel import Counts

QUICK_RETRY = Retry(max_attempts=2, backoff=Backoff(first_s=0.05, max_s=0.1))
PATIENCE_S = 15.0


class Number(BaseModel):
    n: int


class Numbers(Producer[Number]):
    name = "number"


def consumer(
    handler: Callable[[Any], Awaitable[None]], *, name: str = "number", model: Any = Number
) -> Consumer[Any]:
    """Return a consumer that hands each body to the function."""
    message_name = name

    class Handles(Consumer[Any]):
        name = message_name
        Model = model

        async def consume(self, body: BaseModel) -> None:
            await handler(body)

    return Handles()


def dead_letter_consumer(found: list[Any], *, name: str = "number") -> Consumer[Any]:
    """Return a consumer that keeps every Delivery it sees."""
    from mqtransport import Delivery

    message_name = name

    class Keeps(Consumer[Any]):
        name = message_name
        Model = Number

        async def consume(self, body: BaseModel, delivery: Delivery) -> None:
            found.append(delivery)

    return Keeps()


@asynccontextmanager
async def sqs_app(url: str, **options: Any) -> AsyncIterator[MQApp]:
    """An app on an SQS endpoint, shut down at the end; polls are short to keep tests quick."""
    settings = {
        "broker": "sqs",
        "region": "us-east-1",
        "username": "key",
        "password": "secret",
        "wait_s": 1.0,
        **options,
    }
    app = await MQApp.connect(url, **settings)
    try:
        yield app
    finally:
        await app.shutdown(timeout=3)


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; bounded."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - a state of another process or thread
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {PATIENCE_S:g} s: {what}") from None


def check_balanced(counts: Counts) -> None:
    """The conservation law of deliveries."""
    assert counts.balanced, counts
    assert counts.in_hand == 0, counts
