"""The SQS driver on fauxqs, which runs on Node, as a process of its own."""

from collections.abc import Iterator

import pytest

from mqtransport.testing import BrokerConformance
from tests.emulators import fauxqs_server

from .emulator_harness import EmulatorHarness


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with fauxqs_server() as url:
        yield url


@pytest.mark.emulator
class TestSQSOnFauxqs(BrokerConformance):
    @pytest.fixture
    def harness(self, server: str) -> EmulatorHarness:
        return EmulatorHarness("fauxqs", server)
