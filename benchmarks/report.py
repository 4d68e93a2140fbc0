"""From results to tables and verdicts: medians, spreads, ratios within one round. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from benchmarks.measuring import Result
from benchmarks.runs import Round

Figure = Callable[[Result], float]
"""What is taken out of a result."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the smallest and the largest value."""

    median: float
    low: float
    high: float

    def text(self, form: str = ",.0f") -> str:
        """Return it as ``median (low-high)``, each in the format given."""
        return f"{self.median:{form}} ({self.low:{form}}-{self.high:{form}})"


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of some values."""
    found = list(values)
    return Spread(median(found), min(found), max(found))


def shown(ratio: Spread) -> str:
    """Return a ratio with its spread, to two digits behind the point."""
    return ratio.text(".2f")


def of(rounds: Iterable[Round], way: str, figure: Figure) -> Spread:
    """Return the spread of one figure of one way."""
    return spread(figure(one[way]) for one in rounds)


def paired(rounds: Iterable[Round], ours: str, theirs: str, figure: Figure) -> Spread:
    """Return the spread of the ratio ours / theirs, taken within each round.

    Both of a round ran next to each other: what slows the machine for a while hits both.
    """
    return spread(figure(one[ours]) / figure(one[theirs]) for one in rounds)


def apart(rounds: Iterable[Round], ours: str, theirs: str, figure: Figure) -> Spread:
    """Return the spread of the difference ours - theirs, taken within each round."""
    return spread(figure(one[ours]) - figure(one[theirs]) for one in rounds)


def ran(rounds: Sequence[Round], *names: str) -> bool:
    """Return whether all these ways were run."""
    return all(name in rounds[0] for name in names)


def compared(rounds: Sequence[Round], ours: str, theirs: str, figure: Figure) -> Spread | None:
    """Return what :func:`paired` does, or None where one of the two was left out."""
    return paired(rounds, ours, theirs, figure) if ran(rounds, ours, theirs) else None


def compared_text(rounds: Sequence[Round], ours: str, theirs: str, figure: Figure) -> str:
    """Return what :func:`compared` does as text, empty where one of the two was left out."""
    found = compared(rounds, ours, theirs, figure)
    return "" if found is None else shown(found)


def of_ran(rounds: Sequence[Round], way: str, figure: Figure) -> Spread | None:
    """Return what :func:`of` does, or None where the way was left out."""
    return of(rounds, way, figure) if ran(rounds, way) else None


def cpu_us_per_message(result: Result) -> float:
    """Return the CPU microseconds per message."""
    return float(result["cpu_us"]) / float(result["messages"])


def messages_per_s(result: Result) -> float:
    """Return the messages per second."""
    return float(result["messages"]) / float(result["wall_s"])


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit that a figure has to keep, and the figure.

    Attributes:
        claim: what is limited, in words.
        kind: on which side of the limit it has to be.
        limit: the limit.
        found: the figure; None if it could not be measured here.
        note: why not, or what to know about it.
    """

    claim: str
    kind: Literal["at most", "at least"]
    limit: float
    found: Spread | None
    note: str = ""

    @property
    def verdict(self) -> str:
        """``met`` or ``missed``, by the median; ``not measured``."""
        if self.found is None:
            return "not measured"
        below = self.found.median <= self.limit
        above = self.found.median >= self.limit
        return "met" if (below if self.kind == "at most" else above) else "missed"

    def row(self) -> list[str]:
        """Return it as a row of the table of bars."""
        found = (
            (self.note or "not run") if self.found is None else self.found.text(_form(self.limit))
        )
        note = self.note if self.found is not None and self.note else ""
        return [
            self.claim + (f" ({note})" if note else ""),
            f"{self.kind} {self.limit:g}",
            found,
            self.verdict,
        ]


def _form(limit: float) -> str:
    return ".3f" if limit < 10 else ".1f"


@dataclass(frozen=True, slots=True)
class Table:
    """A table: one heading per column, the first column names the row."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    def markdown(self) -> str:
        """Return it in Markdown; figures to the right."""
        lines = [f"**{self.title}**", ""] if self.title else []
        lines.append("| " + " | ".join(self.headings) + " |")
        lines.append("|---" + "|--:" * (len(self.headings) - 1) + "|")
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Plot:
    """Horizontal bars, one per way.

    Attributes:
        name: the name of its files.
        title: what it shows.
        unit: what the axis counts.
        bars: label and spread; labels that begin with ``mqtransport`` are emphasised.
    """

    name: str
    title: str
    unit: str
    bars: Sequence[tuple[str, Spread]]


@dataclass(frozen=True, slots=True)
class Section:
    """What a suite reports.

    Attributes:
        title: its heading.
        text: paragraphs on what was measured, and how.
        tables: its tables.
        plots: its plots.
        bars: the limits it covers.
    """

    title: str
    text: str
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    bars: Sequence[Bar] = field(default_factory=tuple)


def bars_table(bars: Iterable[Bar]) -> Table:
    """Return the table of limits, with what was found."""
    return Table(["Bar", "Limit", "Found: median (min-max)", ""], [bar.row() for bar in bars])


def skipped_text(skipped: dict[str, str]) -> str:
    """Return a paragraph on what was not run, empty if all was."""
    return "\n".join(f"Not run: {name}: {reason}." for name, reason in skipped.items())
