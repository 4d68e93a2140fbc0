"""The suite once more on a file that five processes share; each call is another one's.

So a send, its receive, the extension and the ack come from four processes, and this one has the
file open, too. It proves more than brokers that each stay in a process of their own: nothing may
depend on what a process remembers.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mqtransport.broker import Broker
from mqtransport.testing import BrokerConformance
from tests.durability.support import running

from .shared_file import CLOSE, RotatingBroker, ask
from .test_sqlite import SQLiteHarness

PROCESSES = 4


@pytest.fixture(scope="module")
def sockets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    folder = tmp_path_factory.mktemp("s")
    with ExitStack() as stack:
        found = [folder / str(number) for number in range(PROCESSES)]
        for one in [
            stack.enter_context(running("tests.conformance.shared_file", str(socket)))
            for socket in found
        ]:
            assert one.stdout is not None
            assert one.stdout.readline() == "ready\n"
        yield found


class SharedHarness(SQLiteHarness):
    # Another process hears of a message within 50 ms, and then has to take it.
    slack_s = 0.3

    def __init__(self, path: Path, sockets: list[Path]) -> None:
        super().__init__(path)
        self.sockets = sockets

    def make_broker(self) -> RotatingBroker:
        return RotatingBroker(self.path, self.sockets)

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        assert isinstance(broker, RotatingBroker)
        await broker.limit_queue(queue, max_message_bytes)
        return True


@pytest.mark.process
class TestSQLiteShared(BrokerConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path, sockets: list[Path]) -> Iterator[SharedHarness]:
        path = tmp_path / "queues.db"
        yield SharedHarness(path, sockets)
        for socket in sockets:
            asyncio.run(ask(socket, path, CLOSE))
