"""One layer at a time of what a message costs on SQS, eight batches of ten in flight.

``python -m benchmarks.peers.sqs_layers LAYER COUNT`` prints one result. Layers:

- ``http``: aiohttp alone, the bytes of the requests made before and the answers thrown away
- ``exchange``: the same bytes as the fast path sends them, written into aiohttp's connections
- ``driver``: the SQS driver's send, receive and ack, without the channels above it
- ``aiobotocore``: the same driver without the fast path
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aiohttp

from benchmarks.measuring import Meter, Result, tell
from benchmarks.message import order
from benchmarks.peers.sqs_driving import run
from benchmarks.stub_control import QUEUE, Control
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.brokers.sqs.codec import write
from mqtransport.brokers.sqs.encoding import receipt_entries, send_entry
from mqtransport.brokers.sqs.exchange import Pattern
from mqtransport.message import Attribute, Outgoing

IN_FLIGHT = 8
BATCH = 10
WARM = 30

Step = Callable[[], Awaitable[object]]

_FACTS = '{"id":"0123456789abcdef0123456789abcdef","sent_at":1700000000.123}'
_ATTRIBUTES = {
    "Name": Attribute("String", "order"),
    "Compression": Attribute("String", "off"),
    "Facts": Attribute("String", _FACTS),
}


def batch() -> list[Outgoing]:
    """Return ten messages as the channels hand them to the driver."""
    text = order(1).model_dump_json()
    return [Outgoing(str(number), text, _ATTRIBUTES) for number in range(BATCH)]


@asynccontextmanager
async def driver(*, fast_path: bool) -> AsyncIterator[tuple[Step, Step]]:
    """Yield how to send a batch, and how to receive and ack one, through the driver."""
    async with SQSBroker(endpoint_url=os.environ["BENCH_URL"], fast_path=fast_path) as broker:
        messages = batch()

        async def send() -> None:
            await broker.send(QUEUE, messages)

        async def take() -> None:
            got = await broker.receive(QUEUE, max_messages=BATCH, wait_s=0, lease_s=30)
            await broker.ack(QUEUE, [raw.receipt for raw in got])

        yield send, take


@asynccontextmanager
async def http(*, direct: bool) -> AsyncIterator[tuple[Step, Step]]:
    """Yield the same three requests as bytes, sent by aiohttp, or over its connections."""
    url = os.environ["BENCH_URL"]
    queue_url = f"{url}/000000000000/{QUEUE}"
    entries = [send_entry(at, message, fifo=False) for at, message in enumerate(batch())]
    polled = {"MaxNumberOfMessages": BATCH, "VisibilityTimeout": 30, "WaitTimeSeconds": 0}
    asked = {"MessageAttributeNames": ["All"], "MessageSystemAttributeNames": ["All"]}
    bodies: dict[str, dict[str, Any]] = {
        "SendMessageBatch": {"Entries": entries},
        "ReceiveMessage": polled | asked,
        "DeleteMessageBatch": {"Entries": receipt_entries(["r" * 64] * BATCH)},
    }
    written = {action: write({"QueueUrl": queue_url, **body}) for action, body in bodies.items()}
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def by_aiohttp(action: str, body: bytes, **options: Any) -> None:
            response = await session.post(url, data=body, headers=_headers(action), **options)
            await response.read()

        post = by_aiohttp
        if direct:
            pattern = Pattern()
            await by_aiohttp("ReceiveMessage", written["ReceiveMessage"], middlewares=(pattern,))
            exchange = pattern.exchange(session, _headers("ReceiveMessage"))

            async def by_exchange(action: str, body: bytes, **options: Any) -> None:
                await exchange.post(_headers(action), body)

            post = by_exchange

        async def send() -> None:
            await post("SendMessageBatch", written["SendMessageBatch"])

        async def take() -> None:
            await post("ReceiveMessage", written["ReceiveMessage"])
            await post("DeleteMessageBatch", written["DeleteMessageBatch"])

        yield send, take


def _headers(action: str) -> dict[str, str]:
    return {
        "Content-Type": "application/x-amz-json-1.0",
        "X-Amz-Date": "20260101T000000Z",
        "X-Amz-Target": f"AmazonSQS.{action}",
        "Authorization": "a" * 200,
        "Accept-Encoding": "identity",
        "User-Agent": "a",
    }


LAYERS: dict[str, Callable[[], AbstractAsyncContextManager[tuple[Step, Step]]]] = {
    "http": lambda: http(direct=False),
    "exchange": lambda: http(direct=True),
    "driver": lambda: driver(fast_path=True),
    "aiobotocore": lambda: driver(fast_path=False),
}


async def measure(layer: str, count: int) -> Result:
    """Send so many messages, then take them."""
    Control.of_environment().create()
    async with LAYERS[layer]() as (send, take):
        await _repeat(send, WARM)
        await _repeat(take, WARM)
        meter = Meter()
        await _repeat(send, count // BATCH)
        sent = meter.stop(count)
        meter.start()
        await _repeat(take, count // BATCH)
        return {**meter.stop(count), "send_cpu_us": sent["cpu_us"]}


async def _repeat(step: Step, times: int) -> None:
    left = iter(range(times))

    async def work() -> None:
        for _ in left:
            await step()

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))


async def _main() -> None:
    layer, count = sys.argv[1:]
    tell(await measure(layer, int(count)))


if __name__ == "__main__":
    run(_main())
