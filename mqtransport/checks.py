"""Checks of what an application hands in: a typed error at the call that made the mistake."""

from __future__ import annotations

from typing import Any

from mqtransport.errors import UsageError


def check_number(label: str, value: object, *, whole: bool = False) -> None:
    """Check that a value is a number, before it is compared with its bounds.

    Args:
        label: what it is, for the message.
        value: what was handed in. It is not shown: what lies in a wrong place may be a secret.
        whole: whether it must be a whole number.

    Raises:
        UsageError: it is none; text and True are none.
    """
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        wanted = "a whole number" if whole else "a number"
        raise UsageError(f"{label} must be {wanted}, not {type(value).__name__}")


def check_kind(label: str, value: object, kind: type[Any]) -> None:
    """Check that a value is of a class of ours.

    Args:
        label: what it is, for the message.
        value: what was handed in; not shown.
        kind: the class.

    Raises:
        UsageError: it is not.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{label} must be a {kind.__name__}(...), not {type(value).__name__}")
