"""A memory broker behind a link that fails on demand, and a driver that copes: hooks to try."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, BrokerUnavailableError, RefusedError, ThrottledError
from mqtransport.message import Outgoing, RawDelivery
from mqtransport.testing.harness import Refusable

from .harnesses import MemoryHarness

GARBAGE = object()


class Link:
    """What stands between driver and broker; ``fault`` is the one in force."""

    def __init__(self) -> None:
        self.fault = ""
        self.refuses = ""

    async def call(self, verb: str, wait_s: float, work: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)
        match self.fault:
            case "throttled":
                raise PermissionError("slow down")
            case "unreachable":
                raise ConnectionRefusedError("nobody there")
            case "hanging":
                await asyncio.get_running_loop().create_future()
            case "garbage":
                await work()
                return GARBAGE
        return await work()

    @asynccontextmanager
    async def under(self, fault: str) -> AsyncIterator[None]:
        self.fault = fault
        try:
            yield
        finally:
            self.fault = ""


class Hooks:
    def __init__(self, link: Link) -> None:
        self.link = link

    @asynccontextmanager
    async def refuse_one_entry(self, verb: Refusable) -> AsyncIterator[None]:
        self.link.refuses = verb
        try:
            yield
        finally:
            self.link.refuses = ""

    def throttled(self) -> Any:
        return self.link.under("throttled")

    def unreachable(self) -> Any:
        return self.link.under("unreachable")

    def garbage_reply(self) -> Any:
        return self.link.under("garbage")

    def hanging(self) -> Any:
        return self.link.under("hanging")


class FaultyMemory(MemoryBroker):
    """Translates what the link does, as a driver has to."""

    link: Link

    async def _over(self, verb: str, work: Callable[[], Awaitable[Any]], wait_s: float = 0) -> Any:
        self._check_open(verb)
        try:
            async with asyncio.timeout(wait_s + self.timeout_s):
                answer = await self.link.call(verb, wait_s, work)
        except (OSError, TimeoutError) as error:
            raise self.translated(error) from error
        return self.judged(answer)

    def translated(self, error: Exception) -> Exception:
        if isinstance(error, PermissionError):
            return ThrottledError("slow down")
        return BrokerUnavailableError("no answer", maybe_done=isinstance(error, TimeoutError))

    def judged(self, answer: Any) -> Any:
        if answer is GARBAGE:
            raise BrokerUnavailableError("garbage", maybe_done=True)
        return answer

    async def _each(self, verb: str, items: Sequence[Any], work: Callable[..., Any]) -> Any:
        """Carry out all but one item, where the broker refuses one."""
        if self.link.refuses != verb:
            return await self._over(verb, lambda: work(items))
        answers = await self._over(verb, lambda: work([items[0], *items[2:]]))
        return self.with_refused(answers, RefusedError("this one"))

    def with_refused(self, answers: list[Any], refused: BrokerError) -> list[Any]:
        return [answers[0], refused, *answers[1:]]

    async def ping(self, queues: Sequence[str]) -> None:
        await self._over("ping", lambda: MemoryBroker.ping(self, queues))

    async def describe(self, queue: str) -> Any:
        return await self._over("describe", lambda: MemoryBroker.describe(self, queue))

    async def send(self, queue: str, batch: Sequence[Outgoing]) -> Any:
        return await self._each("send", batch, lambda some: MemoryBroker.send(self, queue, some))

    async def receive(self, queue: str, **options: Any) -> list[RawDelivery]:
        taken: list[RawDelivery] = await self._over(
            "receive", lambda: MemoryBroker.receive(self, queue, **options), options["wait_s"]
        )
        return taken

    async def ack(self, queue: str, receipts: Sequence[str]) -> Any:
        return await self._each("ack", receipts, lambda some: MemoryBroker.ack(self, queue, some))

    async def release(self, queue: str, receipts: Sequence[str], *, delay_s: float) -> Any:
        return await self._each(
            "release", receipts, lambda s: MemoryBroker.release(self, queue, s, delay_s=delay_s)
        )

    async def extend(self, queue: str, receipts: Sequence[str], *, lease_s: float) -> Any:
        return await self._each(
            "extend", receipts, lambda s: MemoryBroker.extend(self, queue, s, lease_s=lease_s)
        )


class FaultyHarness(MemoryHarness):
    def __init__(self, broker: type[FaultyMemory] = FaultyMemory) -> None:
        super().__init__(broker)
        self.link = Link()
        self.fault_hooks = Hooks(self.link)

    def make_broker(self) -> MemoryBroker:
        broker = super().make_broker()
        assert isinstance(broker, FaultyMemory)
        broker.link = self.link
        return broker
