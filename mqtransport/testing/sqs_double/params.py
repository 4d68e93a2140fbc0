"""Reading the parameters of a request: their JSON types, presence and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import SQSError, invalid_parameter, missing_parameter

# What arrives is JSON from outside: any type may stand anywhere until it has been checked here.
Params = Mapping[str, Any]


def wrong_type(name: str, wanted: str) -> SQSError:
    """Return the error for a value of the wrong JSON type."""
    return SQSError("SerializationException", f"{name} must be {wanted}")


def optional_text(params: Params, name: str) -> str | None:
    """Return a string parameter, or None when it is absent.

    Raises:
        SQSError: it is there and not a string.
    """
    value = params.get(name)
    if value is None or isinstance(value, str):
        return value
    raise wrong_type(name, "a string")


def required_text(params: Params, name: str) -> str:
    """Return a string parameter.

    Raises:
        SQSError: it is absent, empty, or not a string.
    """
    value = optional_text(params, name)
    if not value:
        raise missing_parameter(name)
    return value


def optional_integer(params: Params, name: str, low: int, high: int) -> int | None:
    """Return an integer parameter between ``low`` and ``high``, or None when it is absent.

    Raises:
        SQSError: it is not an integer, or out of range.
    """
    value = params.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer")
    if low <= value <= high:
        return value
    raise invalid_parameter(name, value, f"Must be >= {low} and <= {high}, if provided.")


def text_list(params: Params, name: str) -> list[str]:
    """Return a list of strings; absent means empty.

    Raises:
        SQSError: it is not a list of strings.
    """
    value = params.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong_type(name, "a list of strings")
    return value


def mapping(params: Params, name: str) -> Mapping[str, Any]:
    """Return an object; absent means empty.

    Raises:
        SQSError: it is not an object.
    """
    value = params.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type(name, "an object")
    return value
