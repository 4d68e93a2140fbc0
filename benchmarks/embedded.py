"""The SQLite broker beside other durable embedded queues; prints rates and ratios.

``python -m benchmarks.embedded [--count N] [--runs N]``. The peers are installed from PyPI into
an environment of their own below ``.venv``; every run is a fresh process on a fresh file, and the
runs of all are interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks.embedded_run import WAYS

ROOT = Path(__file__).parents[1]
PEERS = ("huey==3.5.4", "litequeue==0.9", "persist-queue==1.1.0")
MODES = ("FULL", "NORMAL")
OURS = "mqtransport"

Rates = dict[tuple[str, str], list[dict[str, float]]]


def main() -> int:
    """Run all, print the tables, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000, help="messages per run")
    parser.add_argument("--runs", type=int, default=5, help="runs of each")
    arguments = parser.parse_args()
    python = peers_environment()
    rates: Rates = defaultdict(list)
    for _ in range(arguments.runs):
        for mode in MODES:
            for who in WAYS:
                rates[mode, who].append(run(python, who, mode, arguments.count))
    for mode in MODES:
        print(table(rates, mode, arguments.count))
    return 0


def run(python: Path, who: str, mode: str, count: int) -> dict[str, float]:
    """Run one way once, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = sys.executable if who.startswith(OURS) else python
        arguments = [chosen, "-m", "benchmarks.embedded_run", who, mode, str(count), folder]
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
            timeout=600,
        )
    rates: dict[str, float] = json.loads(done.stdout)
    return rates


def table(rates: Rates, mode: str, count: int) -> str:
    """Return the medians of one mode, with their spread and the ratio of ours to each."""
    lines = [
        f"synchronous={mode}, {count} messages (messages/s: median, min-max; ratio: ours / theirs)",
        f"{'':24}{'put':>28}{'ratio':>8}{'take + ack':>28}{'ratio':>8}",
    ]
    ours = {kind: median(one[kind] for one in rates[mode, OURS]) for kind in ("put", "take")}
    for who in WAYS:
        line = f"{who:24}"
        for kind in ("put", "take"):
            found = [one[kind] for one in rates[mode, who]]
            spread = f"{median(found):,.0f} ({min(found):,.0f}-{max(found):,.0f})"
            line += f"{spread:>28}{ours[kind] / median(found):>8.2f}"
        lines.append(line)
    return "\n".join([*lines, ""])


def peers_environment() -> Path:
    """Return the Python of the peers' environment, made if it is not there."""
    folder = ROOT / ".venv" / "bench-embedded"
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != repr(PEERS):
        print(f"installing {', '.join(PEERS)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS], check=True)
        stamp.write_text(repr(PEERS))
    return python


if __name__ == "__main__":
    sys.exit(main())
