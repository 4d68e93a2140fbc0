"""The memory broker under the suite: sound, or with a defect that the suite has to catch."""

from collections.abc import Callable
from random import Random

from mqtransport.broker import Broker
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.testing import BrokerHarness, VirtualClock, VirtualLoop
from mqtransport.testing.virtual import EPOCH_S


class MemoryHarness(BrokerHarness):
    slack_s = 0.001

    def __init__(
        self, broker: Callable[..., MemoryBroker] = MemoryBroker, seed: int | None = None
    ) -> None:
        self.broker = broker
        self.loop_factory = lambda: VirtualLoop(seed)
        self.random = Random(seed)

    def make_broker(self) -> MemoryBroker:
        return self.broker(clock=VirtualClock(), random=Random(1))

    def wall_time(self) -> float:
        return EPOCH_S

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        assert isinstance(broker, MemoryBroker)
        broker.limit_queue(queue, max_message_bytes)
        return True


Defects = list[tuple[type[MemoryBroker], str]]


def into(defects: Defects, name: str) -> Callable[[type[MemoryBroker]], type[MemoryBroker]]:
    """Add a broken broker to the list, with the case that has to turn red."""

    def add(broker: type[MemoryBroker]) -> type[MemoryBroker]:
        defects.append((broker, f"test_{name}"))
        return broker

    return add
