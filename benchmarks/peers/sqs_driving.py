"""Drives one SQS client through a measurement; what each client is like is in its own file.

``python -m benchmarks.peers.sqs_NAME MEASUREMENT [--count N] [...]`` prints one result.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from benchmarks.measuring import Meter, Result, peak_bytes, tell
from benchmarks.message import Order, order, orders
from benchmarks.stub_control import QUEUE, Control

WARM = 300
RATE_PER_S = 100

Handle = Callable[[Order], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a client is used.

    Attributes:
        url: the stub's endpoint.
        variant: which of the ways to use this client.
        callers: how many callers await sends at a time; of a batch loop, requests.
        concurrency: most handlers at a time.
        pollers: receives at a time, for clients that let one choose; None is what suits them.
        prefetch: messages fetched ahead of the handlers, for ours.
    """

    url: str
    variant: str
    callers: int
    concurrency: int
    pollers: int | None
    prefetch: int = 0


class Client(ABC):
    """A way of using SQS.

    Args:
        settings: how to use it.
        handle: what to call with each message received.

    Attributes:
        VARIANTS: the ways to use it, the usual one first.
    """

    VARIANTS: ClassVar[tuple[str, ...]] = ("default",)

    def __init__(self, settings: Settings, handle: Handle) -> None:
        self.settings = settings
        self.handle = handle

    @abstractmethod
    async def open(self) -> None:
        """Connect, and begin to consume."""

    @abstractmethod
    async def send_all(self, messages: Iterator[Order]) -> None:
        """Send all; return when SQS has confirmed them."""

    async def send_one(self, message: Order) -> None:
        """Send one, as a lone caller does; return when SQS has confirmed it."""
        await self.send_all(iter([message]))


async def by_callers(
    callers: int, messages: Iterator[Order], send: Callable[[Order], Awaitable[object]]
) -> None:
    """Send all, one by one, by so many callers at a time."""

    async def caller() -> None:
        for message in messages:
            await send(message)

    await asyncio.gather(*(caller() for _ in range(callers)))


class Handled:
    """The handler of all ways: counts, and remembers when, if asked to."""

    def __init__(self) -> None:
        self.count = 0
        self.at: dict[int, float] | None = None

    async def __call__(self, message: Order) -> None:
        """Handle a message."""
        self.count += 1
        if self.at is not None:
            self.at[message.order_id] = time.perf_counter()


class MiscountError(Exception):
    """The client has lost messages, or has not confirmed what it should have."""


async def _warm_up(client: Client, control: Control) -> None:
    await client.open()
    await client.send_all(orders(WARM))
    await _emptied(control)


async def _emptied(control: Control) -> dict[str, Any]:
    # In a thread that blocks on a socket, so that waiting costs this process no CPU.
    return await asyncio.get_running_loop().run_in_executor(None, control.wait)


async def full_queue(client: Client, handled: Handled, control: Control, count: int) -> Result:
    """Fill the queue, then hand it to the consumer: each is measured by itself."""
    produced = await _fill(client, control, count)
    handled.count = 0
    control.reset()
    meter = Meter()
    waiting = asyncio.create_task(_emptied(control))
    await asyncio.sleep(0)  # lets it start; the queue cannot become empty before it is shown
    control.resume()
    stats = await waiting
    consumed = meter.stop(count, requests=stats["requests"])
    if handled.count != count:
        raise MiscountError(f"{handled.count} of {count} messages were handled")
    return {"produce": produced, "consume": consumed, "peak_bytes": peak_bytes()}


async def sends(client: Client, handled: Handled, control: Control, count: int) -> Result:
    """Only send, while nobody receives."""
    return await _fill(client, control, count)


async def _fill(client: Client, control: Control, count: int) -> Result:
    await _warm_up(client, control)
    control.pause()
    control.reset()
    messages = orders(count)
    meter = Meter()
    await client.send_all(messages)
    sent = meter.stop(count)
    stats = control.stats()
    if stats["depth"] != count:
        raise MiscountError(f"{stats['depth']} of {count} messages are in the queue")
    return {**sent, "requests": stats["requests"]}


async def lone(client: Client, handled: Handled, control: Control, count: int) -> Result:
    """Send one after the other: what a caller waits who is alone."""
    await _warm_up(client, control)
    control.pause()
    control.reset()
    waits = []
    meter = Meter()
    for message in orders(count):
        began = time.perf_counter()
        await client.send_one(message)
        waits.append(time.perf_counter() - began)
    return meter.stop(count, wait_s=median(waits), requests=control.stats()["requests"])


async def trickle(client: Client, handled: Handled, control: Control, count: int) -> Result:
    """Send 100 messages a second, one at a time, while the consumer runs."""
    await _warm_up(client, control)
    control.reset()
    sent: dict[int, float] = {}
    handled.at = {}
    meter = Meter()
    start = time.perf_counter()
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number / RATE_PER_S - time.perf_counter()))
        message = order(number)
        sent[number] = time.perf_counter()
        await client.send_one(message)
    stats = await _emptied(control)
    delay_s = median(handled.at[number] - at for number, at in sent.items())
    return meter.stop(count, delay_s=delay_s, requests=stats["requests"])


async def idle(client: Client, handled: Handled, control: Control, count: int) -> Result:
    """Do nothing with an empty queue, for as many seconds as the count says."""
    await _warm_up(client, control)
    await asyncio.sleep(1)  # what follows the last message is over
    control.reset()
    meter = Meter()
    await asyncio.sleep(count)
    stats = control.stats()
    return meter.stop(0, requests=stats["requests"], waits_s=stats["waits_s"])


MEASUREMENTS = {one.__name__: one for one in (full_queue, sends, lone, trickle, idle)}


def main(kind: Callable[[Settings, Handle], Client], variants: tuple[str, ...]) -> None:
    """Measure a client as the command line says, and tell the result."""
    measurement, settings, count = arguments(variants)

    async def measured() -> None:
        control = Control.of_environment()
        control.create()
        handled = Handled()
        client = kind(settings, handled)
        with profiled(f"{kind.__name__}-{settings.variant}-{settings.concurrency}".lower()):
            result = await MEASUREMENTS[measurement](client, handled, control, count)
        tell(result)
        # Open polls last up to 20 s and nobody reads their answers: the process just ends.
        os._exit(0)

    run(measured())


@contextmanager
def profiled(name: str) -> Iterator[None]:
    """Profile what is done within, if ``BENCH_PROFILE`` names a folder for it."""
    folder = os.environ.get("BENCH_PROFILE")
    if not folder:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    yield
    profile.disable()
    profile.dump_stats(Path(folder) / f"{name}.prof")


def arguments(variants: tuple[str, ...]) -> tuple[str, Settings, int]:
    """Read the command line: measurement, settings, count."""
    parser = argparse.ArgumentParser()
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--variant", choices=variants, default=variants[0])
    parser.add_argument("--callers", type=int, default=100)
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--pollers", type=int)
    parser.add_argument("--prefetch", type=int, default=0)
    given = parser.parse_args()
    settings = Settings(
        os.environ["BENCH_URL"],
        given.variant,
        given.callers,
        given.concurrency,
        given.pollers,
        given.prefetch,
    )
    return given.measurement, settings, given.count


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where the environment has it: all environments of this comparison do."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


__all__ = ["QUEUE", "Client", "Handle", "Settings", "by_callers", "main"]
