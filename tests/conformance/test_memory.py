import pytest

from mqtransport.testing import BrokerConformance

from .harnesses import MemoryHarness


class TestMemory(BrokerConformance):
    # Without a seed, and with some of the orders in which tasks may run.
    @pytest.fixture(params=[None, *range(10)])
    def harness(self, request: pytest.FixtureRequest) -> MemoryHarness:
        return MemoryHarness(seed=request.param)
