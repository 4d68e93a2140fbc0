"""The conformance suite: what every broker behind the seam promises, as tests.

Each case is a claim about :class:`mqtransport.broker.Broker`. A broker's test file is a harness
and one class, and pytest collects the rest; no async plugin is needed::

    class Harness(BrokerHarness):
        def make_broker(self):
            return MyBroker(timeout_s=1)

    class TestMyBroker(BrokerConformance):
        @pytest.fixture
        def harness(self):
            return Harness()

A case is skipped only because a capability says that it does not apply, because the harness
has no fault hooks, or because the harness lists it in ``skips`` with a reason.
"""

from __future__ import annotations

from mqtransport.testing.conformance.bench import Bench
from mqtransport.testing.conformance.checks import CaseSkipped, claim, same
from mqtransport.testing.conformance.faults import Faults
from mqtransport.testing.conformance.freeing import Freeing
from mqtransport.testing.conformance.leasing import Leasing
from mqtransport.testing.conformance.lifecycle import Lifecycle
from mqtransport.testing.conformance.ordering import Ordering
from mqtransport.testing.conformance.receiving import Receiving
from mqtransport.testing.conformance.repeating import Repeating
from mqtransport.testing.conformance.running import case, case_names, failures, run_case
from mqtransport.testing.conformance.sending import Sending
from mqtransport.testing.conformance.settling import Settling

__all__ = [
    "Bench",
    "BrokerConformance",
    "CaseSkipped",
    "case",
    "case_names",
    "claim",
    "failures",
    "run_case",
    "same",
]


class BrokerConformance(
    Sending, Receiving, Leasing, Settling, Ordering, Freeing, Repeating, Lifecycle, Faults
):
    """All cases; inherit it as ``class TestX(BrokerConformance)`` with a ``harness`` fixture."""
