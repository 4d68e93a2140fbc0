"""Defects that are put back on purpose, to see that the suite notices each: ``scripts/defects``."""

from pathlib import Path

from tests.defects import edges, receiving, sending

ROOT = Path(__file__).parents[2]

DEFECTS = [*sending.DEFECTS, *receiving.DEFECTS, *edges.DEFECTS]
