"""The page in ``docs/benchmarks``: written from what was measured, whenever that was.

Each suite's measurements are kept in ``results/NAME.json``, so the page can be made anew without
measuring, and suites can be run one by one.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT, TOOLS, UnavailableError
from benchmarks.report import Plot, Section, bars_table, skipped_text
from benchmarks.runs import Measured, Plan
from benchmarks.suites import NAMES, suite

PAGE = ROOT / "docs" / "benchmarks"

INTRODUCTION = Path(__file__).with_name("introduction.md")
"""Method and caveats: the part of the page that no measurement changes."""

MISSED = Path(__file__).with_name("missed.md")
"""Why some limits are missed, as profiles showed it: written by hand."""


def keep(folder: Path, name: str, plan: Plan, measured: Measured) -> None:
    """Write down what a suite has measured."""
    results = folder / "results"
    results.mkdir(parents=True, exist_ok=True)
    kept = {"plan": asdict(plan), "machine": machine(), **asdict(measured)}
    (results / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def machine() -> str:
    """Return what the figures depend on: the date, the code, the system, the Python."""
    today = datetime.now(UTC).date().isoformat()
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{today}, {_commit()}, {system}"


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    if not commit:
        return "no commit known"
    code = [f":(glob){folder}/**/*.py" for folder in ("mqtransport", "fastapi_mq", "benchmarks")]
    changed = git("status", "--porcelain", "--", *code)
    return f"commit {commit}" + (" with changes" if changed else "")


def sections(folder: Path) -> dict[str, Section]:
    """Return the sections of all suites that were measured, in their order."""
    found: dict[str, Section] = {}
    for name in NAMES:
        file = folder / "results" / f"{name}.json"
        if file.exists():
            kept = json.loads(file.read_text("utf-8"))
            found[name] = section(name, Measured(kept["rounds"], kept["skipped"]), kept)
    return found


def section(name: str, measured: Measured, kept: dict[str, Any] | None = None) -> Section:
    """Return a suite's section, with what was skipped and when it was measured."""
    made = suite(name).report(measured)
    parts = [made.text, skipped_text(measured.skipped)]
    if kept is not None:
        parts.append(_size_text(len(measured.rounds), kept["plan"]) + f"; {kept['machine']}.")
    text = "\n\n".join(part for part in parts if part)
    return Section(made.title, text, made.tables, made.plots, made.bars)


def _size_text(rounds: int, plan: Any) -> str:
    text = f"{rounds} rounds"
    count, usual = plan["count"], Plan().count
    return text if count == usual else f"{text} of {count:,} messages, not {usual:,}"


def text(found: dict[str, Section]) -> str:
    """Return the page with these sections."""
    parts = [INTRODUCTION.read_text("utf-8").rstrip()]
    bars = [bar for one in found.values() for bar in one.bars]
    if bars:
        parts += ["## Bars", bars_table(bars).markdown(), MISSED.read_text("utf-8").rstrip()]
    parts += [section_text(one) for one in found.values()]
    return "\n\n".join(parts) + "\n"


def write(folder: Path) -> None:
    """Write the page and its plots from all measurements in the folder."""
    found = sections(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(text(found), "utf-8")
    draw(folder, [plot for one in found.values() for plot in one.plots])


def section_text(one: Section) -> str:
    """Return a section in Markdown."""
    parts = [f"## {one.title}", one.text, *(table.markdown() for table in one.tables)]
    parts += [f"![{plot.title}]({plot.name}.svg)" for plot in one.plots]
    return "\n\n".join(part for part in parts if part)


def draw(folder: Path, plots: list[Plot]) -> None:
    """Draw the plots as PNG and SVG, in the environment that has matplotlib."""
    try:
        python = TOOLS.python()
    except UnavailableError as error:
        print(f"no plots are drawn: {error}", file=sys.stderr)
        return
    subprocess.run(
        [python, "-m", "benchmarks.plots", folder],
        cwd=ROOT,
        input=json.dumps([asdict(plot) for plot in plots]),
        text=True,
        check=True,
        timeout=300,
    )
