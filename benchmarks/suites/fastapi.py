"""FastAPI behind uvicorn: the CPU that the server uses per request, 32 connections.

One ``POST`` route with a pydantic body, in these forms: it does nothing, without the plugin and
with it; with a dependency that does nothing, the least that ``Depends`` costs, and with one turn of
the loop besides, the least that waiting costs; it sends the body as a message by ``Depends``, and
answers when the send is confirmed. Beside ours on SQS, an awaited ``send_message`` of aiobotocore,
without ``Depends``. Server, load and SQS stub are processes of their own; the load uses about a
sixth of the CPU that the bare server uses.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.environments import Environment
from benchmarks.report import (
    Bar,
    Plot,
    Section,
    Spread,
    Table,
    compared,
    compared_text,
    cpu_us_per_message,
    messages_per_s,
    of,
    ran,
    spread,
)
from benchmarks.runs import Measured, Plan, Round, Way, interleave
from benchmarks.suites.sqs import at_stub, requests_to_send

WEB = Environment(
    "fastapi",
    (
        "fastapi==0.165.0",
        "starlette==1.10.0",
        "uvicorn==0.54.0",
        "httptools==0.9.0",
        "uvloop==0.23.0",
        "pydantic==2.14.4",
        "pydantic-settings==2.16.3",
        "aiobotocore==3.10.0",
        "aiohttp==3.14.5",
    ),
)

RUNS = 11
"""Rounds at least: one against one scatters by 15 %."""

BARE = "bare"
DEPENDS = "a dependency that does nothing"
SUSPENDS = "the same, and sleep(0)"
PLUGIN = "with the plugin"
MEMORY = "produces in memory"
CONSUMED = "produces in memory, and consumes"
SQS = "produces to SQS"
BY_HAND = "aiobotocore, send_message"

WAYS = {
    BARE: "bare",
    PLUGIN: "plugin",
    DEPENDS: "depends",
    SUSPENDS: "suspends",
    MEMORY: "memory",
    CONSUMED: "memory_consumed",
    SQS: "sqs",
    BY_HAND: "sqs_by_hand",
}
FACTORS = {BARE: 4.0, PLUGIN: 4.0, SQS: 0.5, BY_HAND: 0.5}
"""More requests where a few percent decide, fewer where each costs several times as much."""


def ways(count: int) -> list[Way]:
    """Return all ways."""
    counts = {name: max(round(count * FACTORS.get(name, 1.0)), 100) for name in WAYS}
    return [
        Way(name, "benchmarks.peers.web", (kind, str(counts[name])), WEB)
        for name, kind in WAYS.items()
    ]


def measure(plan: Plan) -> Measured:
    """Run all ways, each with a stub of its own, which costs nothing where nobody asks it."""
    return interleave(ways(plan.count), max(plan.runs, RUNS), at_stub())


def report(measured: Measured) -> Section:
    """Return the table, the plot and the limits."""
    rounds = measured.rounds
    names = list(rounds[0])
    return Section(
        "FastAPI",
        __doc__ or "",
        tables=[_table(rounds, names)],
        plots=[
            Plot(
                "fastapi_cpu",
                "FastAPI: the server's CPU per request",
                "microseconds (median, smallest to largest)",
                [(name, of(rounds, name, cpu_us_per_message)) for name in names],
            )
        ],
        bars=bars(rounds),
    )


def bars(rounds: Sequence[Round]) -> list[Bar]:
    """Return the limits that this suite covers."""

    def ratio(name: str) -> Spread | None:
        return compared(rounds, name, BARE, cpu_us_per_message)

    return [
        Bar(
            "FastAPI: a route that does not produce, with the plugin / bare",
            "at most",
            1.05,
            ratio(PLUGIN),
        ),
        Bar(
            "FastAPI: a produce by Depends in memory / bare",
            "at most",
            1.35,
            ratio(MEMORY),
        ),
        Bar(
            "FastAPI: added by an awaited produce to SQS / by one send_message",
            "at most",
            0.12,
            added(rounds, SQS, BY_HAND) if ran(rounds, SQS, BY_HAND, BARE) else None,
        ),
    ]


def added(rounds: Sequence[Round], ours: str, theirs: str) -> Spread:
    """Return the spread of what ours adds to the bare route / what theirs adds to it."""

    def adds(one: Round, name: str) -> float:
        return cpu_us_per_message(one[name]) - cpu_us_per_message(one[BARE])

    return spread(adds(one, ours) / adds(one, theirs) for one in rounds)


def _table(rounds: Sequence[Round], names: Sequence[str]) -> Table:
    rows = [
        [
            name,
            of(rounds, name, messages_per_s).text(),
            of(rounds, name, cpu_us_per_message).text(),
            compared_text(rounds, name, BARE, cpu_us_per_message),
            f"{of(rounds, name, requests_to_send).median:.2f}",
            f"{of(rounds, name, lambda one: one['peak_bytes'] / 2**20).median:.0f}",
        ]
        for name in names
    ]
    headings = ["", "requests/s", "CPU us", "of the bare route", "sends to SQS", "peak MiB"]
    return Table(headings, rows)
