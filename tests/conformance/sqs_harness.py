"""The SQS driver under the suite: on the strict double behind the fault proxy."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager as Fault
from contextlib import asynccontextmanager

from mqtransport.broker import Broker
from mqtransport.brokers.sqs import SQSBroker
from mqtransport.testing import BrokerHarness, FaultHooks, FaultProxy, SQSDouble

ACTIONS = {"send": "SendMessageBatch", "ack": "DeleteMessageBatch"}


class DoubleHarness(BrokerHarness):
    def __init__(self, double: SQSDouble, proxy: FaultProxy, *, fast_path: bool = True) -> None:
        self.double, self.proxy, self.fast_path = double, proxy, fast_path
        self.fault_hooks: FaultHooks = DoubleFaults(double, proxy)

    def make_broker(self) -> SQSBroker:
        return SQSBroker(
            endpoint_url=self.proxy.url,
            access_key="key",
            secret_key="secret",
            timeout_s=1.0,
            fast_path=self.fast_path,
        )

    async def limit_queue(self, broker: Broker, queue: str, max_message_bytes: int) -> bool:
        self.double.lower_limit(queue, max_message_bytes)
        return True


class DoubleFaults:
    def __init__(self, double: SQSDouble, proxy: FaultProxy) -> None:
        self.double, self.proxy = double, proxy

    @asynccontextmanager
    async def _while(self, begin: Callable[[], object]) -> AsyncIterator[None]:
        begin()
        yield
        self.double.clear_faults()
        self.proxy.clear()
        self.proxy.accept()

    def refuse_one_entry(self, verb: str) -> Fault[None]:
        action = ACTIONS.get(verb, "ChangeMessageVisibilityBatch")
        second = iter([False, True, *[False] * 8]).__next__
        code = {"code": "InvalidParameterValue", "sender_fault": True}
        return self._while(lambda: self.double.fail_entries(action, lambda _: second(), **code))

    def throttled(self) -> Fault[None]:
        return self._while(lambda: self.double.throttle("*", 1000))

    def unreachable(self) -> Fault[None]:
        return self._while(self.proxy.refuse)

    def garbage_reply(self) -> Fault[None]:
        return self._while(lambda: self.proxy.add(mode="garbage"))

    def hanging(self) -> Fault[None]:
        return self._while(lambda: self.proxy.add(mode="hang"))
