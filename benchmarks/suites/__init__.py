"""The suites, each a module that measures and reports by itself.

A suite ``NAME`` is the module ``benchmarks.suites.NAME`` with two functions:
``measure(plan: Plan) -> Measured`` runs it, ``report(measured: Measured) -> Section`` is pure and
may be given what was measured earlier. :data:`NAMES` lists them in the order of the page.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from benchmarks.report import Section
from benchmarks.runs import Measured, Plan

NAMES = (
    "full_queue",
    "latency",
    "trickle",
    "idle",
    "tls",
    "layers",
    "growth",
    "memory",
    "embedded",
    "fastapi",
)


class Suite(Protocol):
    """What a suite's module offers."""

    def measure(self, plan: Plan) -> Measured:
        """Run everything that the suite compares."""

    def report(self, measured: Measured) -> Section:
        """Return the tables, plots and limits."""


def suite(name: str) -> Suite:
    """Return the suite of this name."""
    return cast(Suite, importlib.import_module(f"benchmarks.suites.{name}"))
