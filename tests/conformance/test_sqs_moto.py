"""The SQS driver on moto, an SQS of other people's making, as a process of its own."""

from collections.abc import Iterator

import pytest

from mqtransport.brokers.sqs import SQSBroker
from mqtransport.testing import BrokerConformance, BrokerHarness
from tests.emulators import moto_server

# moto must not judge lease ownership (nor order, nor duplicates).
MOTO_FAULTS = {
    "test_a_stale_ack_leaves_the_message_to_its_new_holder": (
        "moto deletes by an old receipt; AWS: the call succeeds, the message may stay"
    ),
    "test_a_stale_release_or_extension_does_not_disturb_the_new_holder": (
        "moto un-hides a message by an old receipt while somebody else holds it"
    ),
}


class MotoHarness(BrokerHarness):
    skips = MOTO_FAULTS
    slack_s = 2.0  # it serves about 33 requests a second

    def __init__(self, url: str) -> None:
        self.url = url

    def make_broker(self) -> SQSBroker:
        return SQSBroker(endpoint_url=self.url, access_key="key", secret_key="secret")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.mark.emulator
class TestSQSOnMoto(BrokerConformance):
    @pytest.fixture
    def harness(self, server: str) -> MotoHarness:
        return MotoHarness(server)
