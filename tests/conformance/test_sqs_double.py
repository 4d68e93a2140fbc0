"""The SQS driver on the strict double, with every fault."""

from collections.abc import Iterator

import pytest

from mqtransport.testing import BrokerConformance
from mqtransport.testing.proxy import FaultProxy
from mqtransport.testing.sqs_double import SQSDouble

from .sqs_harness import DoubleHarness


class TestSQSOnDouble(BrokerConformance):
    @pytest.fixture
    def harness(self) -> Iterator[DoubleHarness]:
        with SQSDouble.in_thread() as double, FaultProxy.in_thread(double.url) as proxy:
            yield DoubleHarness(double, proxy)
