"""The SQS driver under the suite: on an emulator of other people's making."""

from aiobotocore.session import get_session

from mqtransport.broker import Broker
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.testing import BrokerHarness

from .emulator_faults import Emulator, skips

KEYS = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}


class EmulatorHarness(BrokerHarness):
    def __init__(self, emulator: Emulator, url: str, slack_s: float = 1.0) -> None:
        self.skips = skips(emulator)
        self.url = url
        self.slack_s = slack_s

    def make_broker(self) -> SQSBroker:
        return SQSBroker(endpoint_url=self.url, access_key="key", secret_key="secret")

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        async with get_session().create_client(
            "sqs", region_name="us-east-1", endpoint_url=self.url, **KEYS
        ) as sqs:
            found = await sqs.get_queue_url(QueueName=queue)
            limit = {"MaximumMessageSize": str(max_message_bytes)}
            await sqs.set_queue_attributes(QueueUrl=found["QueueUrl"], Attributes=limit)
        return True
