"""Where the cost of a message on SQS lies: requests by aiohttp, or over its connections; driver.

The first two send the same bytes as the driver, and throw the answers away. Over aiohttp's
connections is how the driver's fast path makes its requests, and what it cannot go below.

What a full queue costs above the driver is the channels' share: batching, leases, retries, one
outcome for each delivery.
"""

from __future__ import annotations

from benchmarks.environments import Environment
from benchmarks.measuring import Result
from benchmarks.report import Section, Table, compared_text, of
from benchmarks.runs import Measured, Plan, Way, interleave
from benchmarks.suites.sqs import NEWER, SQS, at_stub

HTTP, EXCHANGE = "requests by aiohttp", "requests over its connections"
DRIVER, SLOW = "driver", "driver, without fast path"
LAYERS = {HTTP: "http", EXCHANGE: "exchange", DRIVER: "driver", SLOW: "aiobotocore"}
ON_NEWER = " (newer Python)"


def measure(plan: Plan) -> Measured:
    """Run all layers on both Pythons."""

    def way(name: str, environment: Environment) -> Way:
        layer = LAYERS[name.removesuffix(ON_NEWER)]
        arguments = (layer, str(plan.count))
        return Way(name, "benchmarks.peers.sqs_layers", arguments, environment)

    ways = [way(name, SQS) for name in LAYERS]
    ways += [way(name + ON_NEWER, NEWER) for name in (HTTP, EXCHANGE, DRIVER)]
    return interleave(ways, plan.runs, at_stub())


def report(measured: Measured) -> Section:
    """Return the table."""
    rounds = measured.rounds
    rows = [
        [
            name,
            of(rounds, name, _send_us).text(".1f"),
            of(rounds, name, _take_us).text(".1f"),
            of(rounds, name, _all_us).text(".1f"),
            compared_text(rounds, name, _floor(name), _all_us),
        ]
        for name in rounds[0]
    ]
    headings = ["", "CPU us to send", "to receive and ack", "in all", "of those by aiohttp"]
    return Section("SQS: the layers", __doc__ or "", [Table(headings, rows)])


def _floor(name: str) -> str:
    return HTTP + ON_NEWER if name.endswith(ON_NEWER) else HTTP


def _send_us(result: Result) -> float:
    return float(result["send_cpu_us"]) / float(result["messages"])


def _take_us(result: Result) -> float:
    return float(result["cpu_us"]) / float(result["messages"])


def _all_us(result: Result) -> float:
    return _send_us(result) + _take_us(result)
