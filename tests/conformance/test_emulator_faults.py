"""The table of the emulators' faults is true: what is skipped fails, and the page says so.

But for races, which cannot be made to fail at will.
"""

from collections.abc import Iterator

import pytest

from mqtransport.errors import BrokerError
from mqtransport.testing import BrokerConformance
from mqtransport.testing.conformance import case_names, run_case
from tests.docs.pages import ROOT, table_of
from tests.emulators import SERVERS

from .emulator_faults import EMULATORS, FAULTS, RACES, skips
from .emulator_harness import EmulatorHarness

FAILING = [
    (emulator, case)
    for emulator in EMULATORS
    for case in skips(emulator)
    if FAULTS[case][emulator] != RACES
]


@pytest.fixture(scope="module")
def unskipped(request: pytest.FixtureRequest) -> Iterator[EmulatorHarness]:
    with SERVERS[request.param]() as url:
        harness = EmulatorHarness(request.param, url)
        harness.skips = {}
        yield harness


@pytest.mark.emulator
@pytest.mark.parametrize(("unskipped", "case"), FAILING, indirect=["unskipped"])
def test_a_skipped_case_does_fail_on_this_emulator(unskipped: EmulatorHarness, case: str) -> None:
    with pytest.raises((AssertionError, BrokerError)):
        run_case(BrokerConformance, case, unskipped)


def test_every_fault_is_of_a_case_and_of_an_emulator() -> None:
    assert set(FAULTS) <= set(case_names(BrokerConformance))
    assert {name for faults in FAULTS.values() for name in faults} <= set(EMULATORS)


def test_the_page_shows_the_same_faults() -> None:
    rows = table_of(ROOT / "docs" / "testing.md", "Emulators")
    assert rows.pop("Case of the suite") == list(EMULATORS)
    shown = {
        f"test_{case.replace(' ', '_')}": {
            emulator: cell for emulator, cell in zip(EMULATORS, cells, strict=True) if cell
        }
        for case, cells in rows.items()
        if not case.startswith("-")
    }
    assert shown == {case: dict(faults) for case, faults in FAULTS.items()}
