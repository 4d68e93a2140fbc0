"""Every suite's report, made from what was measured last."""

import json
from typing import Any

import pytest

from benchmarks import page
from benchmarks.report import Section
from benchmarks.runs import FAILED, Measured
from benchmarks.suites import NAMES, suite


def rounds_of(name: str) -> list[dict[str, Any]]:
    kept = json.loads((page.PAGE / "results" / f"{name}.json").read_text("utf-8"))
    rounds: list[dict[str, Any]] = kept["rounds"]
    return rounds


def ways() -> list[tuple[str, str]]:
    return [(name, way) for name in NAMES for way in rounds_of(name)[0]]


def rows(section: Section) -> int:
    return sum(len(table.rows) for table in section.tables)


@pytest.mark.parametrize(("name", "way"), ways())
def test_a_way_that_failed_is_left_out_and_its_limits_are_not_measured(name: str, way: str) -> None:
    whole = suite(name).report(Measured(rounds_of(name), {}))
    rounds = [{other: one[other] for other in one if other != way} for one in rounds_of(name)]
    section = suite(name).report(Measured(rounds, {way: FAILED}))
    assert rows(section) == rows(whole) - 1
    assert [bar.claim for bar in section.bars] == [bar.claim for bar in whole.bars]
    for bar, before in zip(section.bars, whole.bars, strict=True):
        assert bar.found in (before.found, None), "it is judged by another way"


@pytest.mark.parametrize("name", NAMES)
def test_limits_that_nothing_was_run_for_are_there_and_not_measured(name: str) -> None:
    whole, none = (suite(name).report(Measured(one, {})) for one in (rounds_of(name), [{}]))
    assert [bar.claim for bar in none.bars] == [bar.claim for bar in whole.bars]
    assert {bar.verdict for bar in none.bars} <= {"not measured"}


def test_the_page_is_what_the_results_say() -> None:
    assert page.text(page.sections(page.PAGE)) == (page.PAGE / "README.md").read_text("utf-8")


def test_a_count_that_is_not_the_usual_is_told() -> None:
    measured = Measured(rounds_of("tls"), {})
    usual = {"plan": {"count": 5000}, "machine": "here"}
    few = {"plan": {"count": 100}, "machine": "here"}
    assert "rounds; here." in page.section("tls", measured, usual).text
    assert "rounds of 100 messages, not 5,000; here." in page.section("tls", measured, few).text
