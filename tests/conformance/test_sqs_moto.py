"""The SQS driver on moto, an SQS of other people's making, as a process of its own."""

from collections.abc import Iterator

import pytest

from mqtransport.testing import BrokerConformance
from tests.emulators import moto_server

from .emulator_harness import EmulatorHarness


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.mark.emulator
class TestSQSOnMoto(BrokerConformance):
    @pytest.fixture
    def harness(self, server: str) -> EmulatorHarness:
        return EmulatorHarness("moto", server, slack_s=2.0)  # about 33 requests a second
