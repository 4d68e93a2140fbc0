"""The SQLite broker under the suite, on a file that all brokers of a case share."""

from pathlib import Path

import pytest

from mqtransport.broker import Broker
from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.testing import BrokerConformance, BrokerHarness


class SQLiteHarness(BrokerHarness):
    short_lease_s = 0.3
    slack_s = 0.1

    def __init__(self, path: Path) -> None:
        self.path = path

    def make_broker(self) -> SQLiteBroker:
        return SQLiteBroker(self.path)

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        assert isinstance(broker, SQLiteBroker)
        await broker.limit_queue(queue, max_message_bytes)
        return True


class TestSQLite(BrokerConformance):
    @pytest.fixture
    def harness(self, tmp_path: Path) -> SQLiteHarness:
        return SQLiteHarness(tmp_path / "queues.db")
