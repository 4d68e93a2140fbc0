"""Benchmarks beside the peers.

``scripts/bench`` runs all suites, ``scripts/bench NAME...`` some. What was measured, and the page
made of it, go to docs/benchmarks. ``--quick`` counts requests only: seconds, and no installing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import page
from benchmarks.report import bars_table
from benchmarks.runs import FAILED, Plan
from benchmarks.suites import NAMES, suite


def main() -> int:
    """Run what the command line says; return the exit status: 1 if a way failed."""
    chosen = arguments()
    if chosen.quick:
        from benchmarks import quick

        return quick.main()
    failed = False
    if not chosen.report:
        plan = Plan(chosen.runs, chosen.count, chosen.full)
        for name in chosen.suites:
            print(f"{name}:", file=sys.stderr)
            measured = suite(name).measure(plan)
            page.keep(chosen.output, name, plan, measured)
            failed |= FAILED in measured.skipped.values()
    page.write(chosen.output)
    found = [one for name, one in page.sections(chosen.output).items() if name in chosen.suites]
    for one in found:
        print(page.section_text(one), end="\n\n")
    bars = [bar for one in found for bar in one.bars]
    print(bars_table(bars).markdown())
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("suites", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="assert the counts of requests only")
    parser.add_argument("--runs", type=int, default=5, help="rounds of each comparison (5)")
    parser.add_argument("--count", type=int, default=5000, help="messages per run (5000)")
    parser.add_argument("--full", action="store_true", help="also what takes long")
    parser.add_argument("--report", action="store_true", help="only make the page anew")
    parser.add_argument("--output", type=Path, default=page.PAGE, help="folder of the page")
    chosen = parser.parse_args()
    if unknown := set(chosen.suites) - set(NAMES):
        parser.error(f"there is no suite {', '.join(sorted(unknown))}")
    chosen.suites = chosen.suites or list(NAMES)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
