"""The SQLite broker beside other durable embedded queues: write-ahead log, 5,000 messages deep.

Ours is driven by 64 callers who await every send, and 8 who receive and ack ten at a time, at the
broker's interface like the peers; once more through channels, from a model to its handler, as
applications use it; and by a lone caller. The peers are called in a loop, which is the quickest
way to use them. huey deletes a message when it hands it over: a crash loses it.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.environments import Environment
from benchmarks.measuring import Result
from benchmarks.report import (
    Bar,
    Figure,
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
)
from benchmarks.runs import Measured, Plan, Round, Way, interleave

EMBEDDED = Environment(
    "embedded",
    (
        "huey==3.5.4",
        "litequeue==0.9",
        "persist-queue==1.1.0",
        "pydantic==2.14.4",
        "pydantic-settings==2.16.3",
        "uvloop==0.23.0",
    ),
)
DEPTH = 5000
"""Messages in the queue: some peers become slower with it, and the limits are set for this."""

NORMAL, FULL = MODES = ("NORMAL", "FULL")
OURS = "mqtransport"
LITEQUEUE = "litequeue"
HUEY = "huey"
WAYS = {
    OURS: "mqtransport",
    "mqtransport, through channels": "mqtransport_app",
    "mqtransport, 1 caller": "mqtransport_alone",
    LITEQUEUE: "litequeue",
    HUEY: "huey",
    "persist-queue": "persist_queue",
}


def named(way: str, mode: str) -> str:
    """Return the name of a way in a mode."""
    return f"{way}, {mode}"


def ways() -> list[Way]:
    """Return all ways, in both modes."""
    return [
        Way(named(name, mode), "benchmarks.peers.embedded", (kind, mode, str(DEPTH)), EMBEDDED)
        for mode in MODES
        for name, kind in WAYS.items()
    ]


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    return interleave(ways(), plan.runs)


def half(name: str, figure: Figure) -> Figure:
    """Return a figure of ``put`` or ``take``."""

    def taken(result: Result) -> float:
        return figure(result[name])

    return taken


PUT = half("put", messages_per_s)
TAKE = half("take", messages_per_s)


def found(rounds: Sequence[Round], mode: str) -> list[str]:
    """Return the ways that were run in a mode."""
    return [name for name in WAYS if ran(rounds, named(name, mode))]


def report(measured: Measured) -> Section:
    """Return the tables, the plots and the limits."""
    rounds = measured.rounds
    return Section(
        "SQLite",
        __doc__ or "",
        tables=[_table(rounds, mode) for mode in MODES],
        plots=[
            Plot(
                f"embedded_{kind}_{mode.lower()}",
                f"{title}, synchronous={mode}",
                "messages/s (median, smallest to largest)",
                [(name, of(rounds, named(name, mode), figure)) for name in found(rounds, mode)],
            )
            for mode in MODES
            for kind, title, figure in (("put", "Put", PUT), ("take", "Take and ack", TAKE))
        ],
        bars=bars(rounds),
    )


def bars(rounds: Sequence[Round]) -> list[Bar]:
    """Return the limits that this suite covers."""

    def ratio(other: str, mode: str, figure: Figure) -> Spread | None:
        ours, theirs = named(OURS, mode), named(other, mode)
        return compared(rounds, ours, theirs, figure)

    return [
        Bar("SQLite: put, ours / litequeue, NORMAL", "at least", 3, ratio(LITEQUEUE, NORMAL, PUT)),
        Bar("SQLite: put, ours / huey, FULL", "at least", 10, ratio(HUEY, FULL, PUT)),
        Bar(
            "SQLite: consume and ack, ours / litequeue, NORMAL",
            "at least",
            10,
            ratio(LITEQUEUE, NORMAL, TAKE),
        ),
    ]


def _table(rounds: Sequence[Round], mode: str) -> Table:
    rows = []
    ours = named(OURS, mode)
    for name in found(rounds, mode):
        row = [name]
        for part, rate in (("put", PUT), ("take", TAKE)):
            row += [
                of(rounds, named(name, mode), rate).text(),
                compared_text(rounds, ours, named(name, mode), rate),
                of(rounds, named(name, mode), half(part, cpu_us_per_message)).text(".1f"),
            ]
        rows.append(row)
    headings = ["", "put/s", "ours is", "CPU us", "take + ack/s", "ours is", "CPU us"]
    return Table(headings, rows, title=f"synchronous={mode}")
