"""The SQS driver on ministack, as a process of its own."""

from collections.abc import Iterator

import pytest

from mqtransport.testing import BrokerConformance
from tests.emulators import ministack_server

from .emulator_harness import EmulatorHarness


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ministack_server() as url:
        yield url


@pytest.mark.emulator
class TestSQSOnMinistack(BrokerConformance):
    @pytest.fixture
    def harness(self, server: str) -> EmulatorHarness:
        return EmulatorHarness("ministack", server)
