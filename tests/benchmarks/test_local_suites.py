"""The reports of the suites that need no SQS, from made-up measurements."""

from typing import Any

from benchmarks.report import Section
from benchmarks.runs import Measured
from benchmarks.suites import embedded, fastapi, memory


def used(cpu_us: float, wall_s: float = 1.0) -> dict[str, Any]:
    spent = {"cpu_us": cpu_us * 100, "wall_s": wall_s, "peak_bytes": 2**20}
    return {"messages": 100, "requests": {}, **spent}


def verdicts(section: Section) -> list[str]:
    return [bar.verdict for bar in section.bars]


def test_fastapi_adds_are_compared_with_the_bare_route_taken_off() -> None:
    costs = {"bare": 100.0, "with the plugin": 105.0, "produces in memory": 135.0}
    costs |= {"produces to SQS": 196.0, "aiobotocore, send_message": 900.0}
    rounds = [{name: used(costs.get(name, 120.0)) for name in fastapi.WAYS}]
    assert fastapi.added(rounds, fastapi.SQS, fastapi.BY_HAND).median == 0.12
    section = fastapi.report(Measured(rounds, {}))
    assert verdicts(section) == ["met", "met", "met"]
    assert len(section.tables[0].rows) == len(fastapi.WAYS)


def test_fastapi_takes_more_requests_where_percents_decide_and_fewer_where_each_is_dear() -> None:
    counts = {way.name: way.arguments[1] for way in fastapi.ways(5000)}
    assert counts[fastapi.BARE] == counts[fastapi.PLUGIN] == "20000"
    assert counts[fastapi.MEMORY] == "5000"
    assert counts[fastapi.SQS] == counts[fastapi.BY_HAND] == "2500"


def test_memory_reports_without_a_newer_python_as_well() -> None:
    rounds = [{memory.QUEUE: used(4), memory.OURS: used(12), memory.WIDE: used(12.4)}]
    rounds[0][memory.TASKIQ] = used(42)
    section = memory.report(Measured(rounds, {memory.FANFERRO: "no Python >= 3.12"}))
    assert verdicts(section) == ["met", "missed", "met"]
    assert [row[0] for row in section.tables[0].rows] == list(rounds[0])


def test_memory_compares_within_one_python() -> None:
    names = [way.name for way in memory.ways(1000)]
    rounds = [{name: used(10) for name in names}]
    rounds[0][memory.QUEUE_NEWER] = used(5)
    rows = {row[0]: row[3] for row in memory.report(Measured(rounds, {})).tables[0].rows}
    assert rows[memory.OURS] == "1.00 (1.00-1.00)"
    assert rows[memory.FANFERRO] == "2.00 (2.00-2.00)"


def test_embedded_compares_rates_in_the_mode_of_each_limit() -> None:
    def both(put_s: float, take_s: float) -> dict[str, Any]:
        return {"put": used(1, put_s), "take": used(1, take_s)}

    one = {way.name: both(1.0, 1.0) for way in embedded.ways()}
    one[embedded.named(embedded.LITEQUEUE, "NORMAL")] = both(3.0, 9.9)
    one[embedded.named(embedded.HUEY, "FULL")] = both(10.0, 1.0)
    section = embedded.report(Measured([one], {}))
    assert verdicts(section) == ["met", "met", "missed"]
    assert [table.title for table in section.tables] == ["synchronous=NORMAL", "synchronous=FULL"]


def test_embedded_always_measures_at_the_depth_of_its_limits() -> None:
    assert {way.arguments[2] for way in embedded.ways()} == {"5000"}
