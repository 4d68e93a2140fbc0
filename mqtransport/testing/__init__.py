"""Tools for testing applications, and brokers, built on this library.

Nothing here needs more than the library itself; the conformance suite is run by pytest.
"""

from mqtransport.testing.conformance import BrokerConformance
from mqtransport.testing.harness import BrokerHarness, FaultHooks
from mqtransport.testing.virtual import DeadlockError, VirtualClock, VirtualLoop, run_virtual

__all__ = [
    "BrokerConformance",
    "BrokerHarness",
    "DeadlockError",
    "FaultHooks",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]
