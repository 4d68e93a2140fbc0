"""Draws plots read from standard input; runs where matplotlib is.

``python -m benchmarks.plots FOLDER`` writes ``NAME.png`` and ``NAME.svg`` for each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OURS, THEIRS, INK = "#1f6f8b", "#b9c4c9", "#333333"


def draw(plot: dict[str, Any], folder: Path) -> None:
    """Draw one plot: a horizontal bar per way, whiskers from the smallest to the largest."""
    from matplotlib import pyplot

    labels = [label for label, _ in plot["bars"]]
    spreads = [spread for _, spread in plot["bars"]]
    middles = [spread["median"] for spread in spreads]
    whiskers = [
        [spread["median"] - spread["low"] for spread in spreads],
        [spread["high"] - spread["median"] for spread in spreads],
    ]
    colours = [OURS if label.startswith("mqtransport") else THEIRS for label in labels]
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.36 * len(labels)))
    axes.barh(labels, middles, xerr=whiskers, color=colours, ecolor=INK, capsize=2)
    axes.invert_yaxis()
    axes.set_title(plot["title"], loc="left", fontsize=11, color=INK)
    axes.set_xlabel(plot["unit"], color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    for position, spread in enumerate(spreads):
        text = f"{spread['median']:,.3g}" if spread["median"] < 10 else f"{spread['median']:,.0f}"
        axes.annotate(
            text,
            (spread["high"], position),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.margins(x=0.1)
    figure.tight_layout()
    for suffix in ("png", "svg"):
        # No date in the file: the same results give the same files.
        metadata = {"Date": None} if suffix == "svg" else None
        figure.savefig(folder / f"{plot['name']}.{suffix}", dpi=120, metadata=metadata)
    pyplot.close(figure)


def main() -> None:
    """Draw what standard input lists."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"
    matplotlib.rcParams["svg.fonttype"] = "none"  # text stays text: a fifth of the size
    for plot in json.load(sys.stdin):
        draw(plot, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
