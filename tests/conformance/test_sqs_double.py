"""The SQS driver on the strict double, with every fault, by the fast path and by aiobotocore."""

from collections.abc import Iterator

import pytest

from mqtransport.testing import BrokerConformance
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

from .sqs_harness import DoubleHarness


@pytest.fixture
def proxied() -> Iterator[tuple[SQSDouble, FaultProxy]]:
    with SQSDouble.in_thread() as double, FaultProxy.in_thread(double.url) as proxy:
        yield double, proxy


class TestSQSOnDouble(BrokerConformance):
    @pytest.fixture
    def harness(self, proxied: tuple[SQSDouble, FaultProxy]) -> DoubleHarness:
        return DoubleHarness(*proxied)


class TestSQSOnDoubleByAiobotocore(BrokerConformance):
    @pytest.fixture
    def harness(self, proxied: tuple[SQSDouble, FaultProxy]) -> DoubleHarness:
        return DoubleHarness(*proxied, fast_path=False)
