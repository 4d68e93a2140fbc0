"""The same full queue over HTTPS, with verified certificates, at no latency."""

from __future__ import annotations

from benchmarks.report import Section, Table, compared_text, of
from benchmarks.runs import Measured, Plan, interleave
from benchmarks.suites.sqs import (
    NEWER,
    OURS,
    RAW,
    SLOW,
    SQS,
    TUNED,
    at_stub,
    total_cpu_us,
    total_requests,
    way,
)

FANFERRO = "fanferro, send_batch (newer Python)"


def measure(plan: Plan) -> Measured:
    """Run all ways."""
    full, count = "full_queue", plan.count
    ways = [
        way(OURS, "ours", full, SQS, count),
        way(SLOW, "ours", full, SQS, count, "slow_path"),
        way(RAW, "raw", full, SQS, count, callers=4),
        way(TUNED, "raw", full, SQS, count, "tuned", callers=4),
        way(FANFERRO, "fanferro", full, NEWER, count, "batches"),
    ]
    return interleave(ways, plan.runs, at_stub(tls=True))


def report(measured: Measured) -> Section:
    """Return the table."""
    rounds = measured.rounds
    rows = [
        [
            name,
            of(rounds, name, total_cpu_us).text(),
            compared_text(rounds, name, RAW, total_cpu_us),
            f"{of(rounds, name, total_requests).median:.2f}",
        ]
        for name in rounds[0]
    ]
    headings = ["", "CPU us per message in all", "of the batch loop", "requests"]
    return Section("SQS over TLS", __doc__ or "", [Table(headings, rows)])
