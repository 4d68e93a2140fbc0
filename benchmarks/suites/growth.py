"""Ten times the messages: ten times the CPU, the same memory.

The process makes at most a thousand message objects, so its peak memory is what the library holds.
"""

from __future__ import annotations

from benchmarks.report import Bar, Section, Table, compared, compared_text, of
from benchmarks.runs import Measured, Plan, interleave
from benchmarks.suites.sqs import SQS, at_stub, peak_mib, total_cpu_us, way

SIZES = (5_000, 50_000)
FULL = (*SIZES, 500_000)


def named(size: int) -> str:
    """Return the name of the way with so many messages."""
    return f"{size:,} messages"


def measure(plan: Plan) -> Measured:
    """Run all sizes; three rounds do."""
    sizes = FULL if plan.full else SIZES
    ways = [way(named(size), "ours", "full_queue", SQS, size) for size in sizes]
    return interleave(ways, min(plan.runs, 3), at_stub())


def report(measured: Measured) -> Section:
    """Return the table and the limits."""
    rounds = measured.rounds
    first = named(SIZES[0])
    rows = [
        [
            name,
            of(rounds, name, total_cpu_us).text(".1f"),
            compared_text(rounds, name, first, total_cpu_us),
            of(rounds, name, peak_mib).text(".1f"),
            compared_text(rounds, name, first, peak_mib),
        ]
        for name in rounds[0]
    ]
    bars = []
    for size in FULL[1:]:
        name = named(size)
        cpu = compared(rounds, name, first, total_cpu_us)
        memory = compared(rounds, name, first, peak_mib)
        bars.append(Bar(f"CPU per message, {name} / {first}", "at most", 1.15, cpu))
        bars.append(Bar(f"peak memory, {name} / {first}", "at most", 1.10, memory))
    headings = ["", "CPU us per message", "of the first", "peak MiB", "of the first"]
    return Section("SQS: growth", __doc__ or "", [Table(headings, rows)], bars=bars)
