"""What a broker's author supplies so that the conformance suite can run against it."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Literal, Protocol

from mqtransport.broker import Broker, QueueOptions
from mqtransport.clock import new_random

Refusable = Literal["send", "ack", "release", "extend"]
"""The verbs whose items a broker can refuse one by one."""


class FaultHooks(Protocol):
    """Faults that a harness can put between a driver and its broker.

    Each is entered while the suite's broker object is connected, holds for every call inside
    the block, and is over after it: the same object then works again.
    """

    def refuse_one_entry(self, verb: Refusable) -> AbstractAsyncContextManager[None]:
        """Let the broker refuse exactly one item of the next call, and take the others."""
        ...

    def throttled(self) -> AbstractAsyncContextManager[None]:
        """Let the broker answer every call with "slow down", and carry none out."""
        ...

    def unreachable(self) -> AbstractAsyncContextManager[None]:
        """Let every connection be refused."""
        ...

    def garbage_reply(self) -> AbstractAsyncContextManager[None]:
        """Let every call be answered as a success whose content makes no sense."""
        ...

    def hanging(self) -> AbstractAsyncContextManager[None]:
        """Let no call be answered."""
        ...


class BrokerHarness(ABC):
    """How the suite makes a broker, waits, and names what is known to be missing.

    Attributes:
        loop_factory: makes the event loop of each case; None for asyncio's own. With a
            :class:`~mqtransport.testing.VirtualLoop` no case really waits.
        short_lease_s: the shortest lease worth testing, a whole multiple of the broker's
            ``lease_step_s``. A suite in real time waits about thirty of them.
        slack_s: how much later than promised a message may come back.
        case_timeout_s: a case that takes longer has failed.
        skips: cases that cannot pass, and why; for faults of an emulator, not of a driver.
        fault_hooks: None if no faults can be made; their cases are then skipped.
        random: the source of queue names, fresh for every case.
    """

    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    short_lease_s: float = 1.0
    slack_s: float = 0.5
    case_timeout_s: float = 60.0
    skips: Mapping[str, str] = {}
    fault_hooks: FaultHooks | None = None
    random: Random = new_random()

    @abstractmethod
    def make_broker(self) -> Broker:
        """Return a new broker object, not yet connected; its ``timeout_s`` should be short."""

    async def elapse(self, seconds: float) -> None:
        """Let so much time pass for the broker."""
        await asyncio.sleep(seconds)

    def wall_time(self) -> float:
        """The broker's wall clock, Unix seconds."""
        return time.time()

    async def create_queue(self, broker: Broker, queue: str, options: QueueOptions) -> None:
        """Make a queue; by default with the broker's own ``declare``."""
        await broker.declare(queue, options)

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        """Lower the size limit of a queue that exists; False if that cannot be done here."""
        return False

    def queue_name(self) -> str:
        """Return a name that no queue has had yet."""
        return f"conformance-{self.random.getrandbits(48):012x}"
