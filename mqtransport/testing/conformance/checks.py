"""Claims that hold under ``python -O`` too, and that say what was found."""

from __future__ import annotations

from typing import Any


class CaseSkipped(Exception):
    """The case does not apply to this broker; its text says why."""


def claim(condition: bool, what: str) -> None:
    """Fail the case unless the claim holds.

    Raises:
        AssertionError: it does not.
    """
    if not condition:
        raise AssertionError(f"claimed: {what}")


def same(actual: Any, expected: Any, what: str) -> None:
    """Fail the case unless both are equal.

    Raises:
        AssertionError: they differ.
    """
    if actual != expected:
        raise AssertionError(f"{what}: expected {_short(expected)}, got {_short(actual)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}... ({len(text)} characters)"
