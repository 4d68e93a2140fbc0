"""The suite is itself tried: on brokers with one defect each, a named case must turn red."""

from typing import Any

import pytest

from mqtransport.brokers.memory import MemoryBroker
from mqtransport.errors import BrokerError, UsageError
from mqtransport.message import RawDelivery
from mqtransport.testing import BrokerConformance
from mqtransport.testing.conformance import CaseSkipped, case, case_names, failures, run_case

from . import broken_ordering, broken_receiving, broken_repeating, broken_settling
from .harnesses import MemoryHarness

DEFECTS = [
    *broken_settling.DEFECTS,
    *broken_receiving.DEFECTS,
    *broken_ordering.DEFECTS,
    *broken_repeating.DEFECTS,
]


def test_a_sound_broker_passes() -> None:
    assert failures(BrokerConformance, MemoryHarness()) == {}


def test_a_sound_broker_that_hands_out_one_at_a_time_passes() -> None:
    class OneAtATime(MemoryBroker):
        def _take(self, queue: str, max_messages: int, *rest: Any) -> list[RawDelivery]:
            return super()._take(queue, 1, *rest)

    assert failures(BrokerConformance, MemoryHarness(OneAtATime)) == {}


@pytest.mark.parametrize(
    ("broker", "name"), DEFECTS, ids=[broker.__name__ for broker, _ in DEFECTS]
)
def test_the_suite_catches(broker: type[MemoryBroker], name: str) -> None:
    assert name in case_names(BrokerConformance)
    with pytest.raises((AssertionError, BrokerError)):
        run_case(BrokerConformance, name, MemoryHarness(broker))


def test_at_least_ninety_defects_are_tried() -> None:
    assert len(DEFECTS) >= 90


def test_a_skip_of_an_unknown_case_is_an_error() -> None:
    harness = MemoryHarness()
    harness.skips = {"test_that_is_not_there": "an emulator's fault"}
    with pytest.raises(UsageError, match="test_that_is_not_there"):
        run_case(BrokerConformance, "test_acking_twice_is_fine", harness)


def test_a_skip_gives_its_reason() -> None:
    harness = MemoryHarness()
    harness.skips = {"test_acking_twice_is_fine": "emulator x forgets"}
    with pytest.raises(CaseSkipped, match="emulator x forgets"):
        run_case(BrokerConformance, "test_acking_twice_is_fine", harness)


def test_cases_need_hooks_or_are_skipped() -> None:
    with pytest.raises(CaseSkipped, match="no fault hooks"):
        run_case(BrokerConformance, "test_throttling_is_reported_as_such", MemoryHarness())


def test_third_parties_can_add_cases_of_their_own() -> None:
    class Extended(BrokerConformance):
        @case
        async def test_mine(self, bench: Any) -> None:
            raise AssertionError("mine")

    assert list(failures(Extended, MemoryHarness())) == ["test_mine"]
