"""The SQS driver under the suite: on the strict double behind the fault proxy."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from mqtransport.broker import Broker
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.testing import BrokerHarness, FaultHooks
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

ACTIONS = {
    "send": "SendMessageBatch",
    "ack": "DeleteMessageBatch",
    "release": "ChangeMessageVisibilityBatch",
    "extend": "ChangeMessageVisibilityBatch",
}


class DoubleHarness(BrokerHarness):
    def __init__(self, double: SQSDouble, proxy: FaultProxy) -> None:
        self.double, self.proxy = double, proxy
        self.fault_hooks: FaultHooks = DoubleFaults(double, proxy)

    def make_broker(self) -> SQSBroker:
        return SQSBroker(
            endpoint_url=self.proxy.url, access_key="key", secret_key="secret", timeout_s=1.0
        )

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        self.double.lower_limit(queue, max_message_bytes)
        return True


class DoubleFaults:
    def __init__(self, double: SQSDouble, proxy: FaultProxy) -> None:
        self.double, self.proxy = double, proxy

    @asynccontextmanager
    async def refuse_one_entry(
        self, verb: Literal["send", "ack", "release", "extend"]
    ) -> AsyncIterator[None]:
        seen: list[object] = []

        def second(entry: object) -> bool:
            seen.append(entry)
            return len(seen) == 2

        self.double.fail_entries(
            ACTIONS[verb], second, code="InvalidParameterValue", sender_fault=True
        )
        yield
        self.double.clear_faults()

    @asynccontextmanager
    async def throttled(self) -> AsyncIterator[None]:
        self.double.throttle("*", 1000)
        yield
        self.double.clear_faults()

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        self.proxy.refuse()
        yield
        self.proxy.accept()

    @asynccontextmanager
    async def garbage_reply(self) -> AsyncIterator[None]:
        self.proxy.add(mode="garbage")
        yield
        self.proxy.clear()

    @asynccontextmanager
    async def hanging(self) -> AsyncIterator[None]:
        self.proxy.add(mode="hang")
        yield
        self.proxy.clear()
