"""Queue attributes: their defaults, their ranges, and how they are read from a request.

Source: "CreateQueue", "SetQueueAttributes" and "GetQueueAttributes" in the service model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from .contents import HARD_LIMIT_BYTES
from .errors import SQSError, invalid_parameter
from .params import wrong_type

_RANGES = {
    "DelaySeconds": (0, 900),
    "KmsDataKeyReusePeriodSeconds": (60, 86_400),
    "MaximumMessageSize": (1_024, HARD_LIMIT_BYTES),
    "MessageRetentionPeriod": (60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 20),
    "VisibilityTimeout": (0, 43_200),
}
_DEFAULTS = {
    "DelaySeconds": "0",
    "MaximumMessageSize": str(HARD_LIMIT_BYTES),
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "SqsManagedSseEnabled": "true",
    "VisibilityTimeout": "30",
}
_ONLY_FIFO = frozenset(
    {"ContentBasedDeduplication", "DeduplicationScope", "FifoQueue", "FifoThroughputLimit"}
)
_JSON = frozenset({"Policy", "RedriveAllowPolicy", "RedrivePolicy"})
_SETTABLE = frozenset(_RANGES) | _JSON | {"SqsManagedSseEnabled"}
# Keys of one's own need AWS KMS, which the double has not; it says so instead of pretending.
_UNSUPPORTED = frozenset({"KmsMasterKeyId"})
COMPUTED = frozenset(
    {
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "CreatedTimestamp",
        "LastModifiedTimestamp",
        "QueueArn",
    }
)
READABLE = _SETTABLE | _UNSUPPORTED | _ONLY_FIFO | COMPUTED | {"All"}
"""The enumeration ``QueueAttributeName``: what ``GetQueueAttributes`` may be asked for."""

MAX_RECEIVE_COUNT = 1_000
"""The highest ``maxReceiveCount`` ("Configure a dead-letter queue", developer guide)."""


class Settings:
    """The attributes of one queue that can be set; the values are strings, as on the wire.

    Args:
        given: what the request sets, already checked; the rest gets AWS's defaults.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._values = dict(_DEFAULTS)
        self._numbers: dict[str, int] = {}
        self.dead_letter_arn: str | None = None
        self.max_receive_count: int | None = None
        self.update(given)

    def update(self, given: Mapping[str, str]) -> None:
        """Set checked attributes; an empty policy removes it."""
        self._values.update(given)
        for name in _JSON:
            if self._values.get(name) == "":
                del self._values[name]
        self._numbers = {name: int(self._values[name]) for name in _RANGES if name in self._values}
        policy = json.loads(self._values.get("RedrivePolicy", "{}"))
        self.dead_letter_arn = policy.get("deadLetterTargetArn")
        count = policy.get("maxReceiveCount")
        self.max_receive_count = None if count is None else int(count)

    def lower_limit(self, limit_bytes: int) -> None:
        """Set the size limit without the check for AWS's minimum of 1 KiB."""
        self.update({"MaximumMessageSize": str(limit_bytes)})

    def number(self, name: str) -> int:
        """Return an attribute that is a number."""
        return self._numbers[name]

    def differing(self, given: Mapping[str, str]) -> str | None:
        """Return the first given attribute whose value differs from the queue's, or None."""
        return next((name for name in given if self._values.get(name) != given[name]), None)

    def values(self) -> dict[str, str]:
        """Return every attribute that is set."""
        return dict(self._values)


def check_settings(raw: Mapping[str, object]) -> dict[str, str]:
    """Return the attributes of a ``CreateQueue`` or ``SetQueueAttributes`` request, checked.

    Raises:
        SQSError: an unknown name, a value out of range, or malformed JSON.
    """
    checked: dict[str, str] = {}
    for name, value in raw.items():
        if not isinstance(value, str):
            raise wrong_type(f"Attributes.{name}", "a string")
        _check(name, value)
        checked[name] = value
    return checked


def _check(name: str, value: str) -> None:
    if name in _ONLY_FIFO:
        raise SQSError(
            "InvalidAttributeName", f"You can specify the {name} only when FifoQueue is set to true"
        )
    if name in _UNSUPPORTED:
        raise SQSError("UnsupportedOperation", f"The double does not support {name}.")
    if name not in _SETTABLE:
        raise SQSError("InvalidAttributeName", f"Unknown Attribute {name}.")
    if name in _RANGES and not _in_range(value, *_RANGES[name]):
        raise invalid_value(name)
    if name == "SqsManagedSseEnabled" and value not in ("true", "false"):
        raise invalid_value(name)
    if name in _JSON and value:
        _check_json(name, value)


def _in_range(value: str, low: int, high: int) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high


def _check_json(name: str, value: str) -> None:
    try:
        document = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise invalid_value(name) from error
    if not isinstance(document, dict):
        raise invalid_value(name)
    if name == "RedrivePolicy":
        _check_redrive(document, value)
    if name == "RedriveAllowPolicy":
        _check_allow(document)


def _check_redrive(document: Mapping[str, object], value: str) -> None:
    if set(document) != {"deadLetterTargetArn", "maxReceiveCount"}:
        reason = "It must hold the attributes deadLetterTargetArn and maxReceiveCount, no others."
        raise invalid_parameter("RedrivePolicy", value, reason)
    count = str(document["maxReceiveCount"])
    if not _in_range(count, 1, MAX_RECEIVE_COUNT):
        raise invalid_parameter(
            "RedrivePolicy",
            value,
            "Invalid value for maxReceiveCount: "
            f"{count}, valid values are from 1 to {MAX_RECEIVE_COUNT} both inclusive.",
        )
    if not isinstance(document["deadLetterTargetArn"], str):
        raise invalid_value("RedrivePolicy")


def _check_allow(document: Mapping[str, object]) -> None:
    permission, sources = document.get("redrivePermission"), document.get("sourceQueueArns")
    if permission not in ("allowAll", "denyAll", "byQueue"):
        raise invalid_value("RedriveAllowPolicy")
    if (permission == "byQueue") != (isinstance(sources, list) and 1 <= len(sources) <= 10):
        raise invalid_value("RedriveAllowPolicy")


def allows(settings: Settings, source_arn: str) -> bool:
    """Return whether a queue with these settings may be the dead letter queue of the source."""
    document = json.loads(settings.values().get("RedriveAllowPolicy", "{}"))
    if document.get("redrivePermission") == "byQueue":
        return bool(source_arn in document["sourceQueueArns"])
    return bool(document.get("redrivePermission") != "denyAll")


def invalid_value(name: str) -> SQSError:
    """Return the error for an attribute whose value is refused."""
    return SQSError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
