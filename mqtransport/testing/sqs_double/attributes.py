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
_FIFO_DEFAULTS = {
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoQueue": "true",
    "FifoThroughputLimit": "perQueue",
}
_ONLY_FIFO = frozenset(_FIFO_DEFAULTS)
_CHOICES = {
    "ContentBasedDeduplication": ("true", "false"),
    "DeduplicationScope": ("messageGroup", "queue"),
    "FifoQueue": ("true", "false"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
    "SqsManagedSseEnabled": ("true", "false"),
}
_JSON = frozenset({"Policy", "RedriveAllowPolicy", "RedrivePolicy"})
_SETTABLE = frozenset(_RANGES) | _JSON | {"KmsMasterKeyId", "SqsManagedSseEnabled"}
_KEY_REUSE_S = "300"
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
READABLE = _SETTABLE | _ONLY_FIFO | COMPUTED | {"All"}
"""The enumeration ``QueueAttributeName``: what ``GetQueueAttributes`` may be asked for."""

MAX_RECEIVE_COUNT = 1_000
"""The highest ``maxReceiveCount`` ("Configure a dead-letter queue", developer guide)."""


class Settings:
    """The attributes of one queue that can be set; the values are strings, as on the wire.

    Args:
        given: what the request sets, already checked; the rest gets AWS's defaults.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self.ordered = given.get("FifoQueue") == "true"
        self._values = _DEFAULTS | (_FIFO_DEFAULTS if self.ordered else {})
        self._numbers: dict[str, int] = {}
        self.dead_letter_arn: str | None = None
        self.max_receive_count: int | None = None
        self.update(given)

    def update(self, given: Mapping[str, str]) -> None:
        """Set checked attributes; an empty policy or key removes it."""
        self._values.update(given)
        for name in (*_JSON, "KmsMasterKeyId"):
            if self._values.get(name) == "":
                del self._values[name]
        self._choose_encryption(given)
        self._numbers = {name: int(self._values[name]) for name in _RANGES if name in self._values}
        policy = json.loads(self._values.get("RedrivePolicy", "{}"))
        self.dead_letter_arn = policy.get("deadLetterTargetArn")
        count = policy.get("maxReceiveCount")
        self.max_receive_count = None if count is None else int(count)

    @property
    def deduplicates_by_content(self) -> bool:
        """Whether a message without a deduplication id gets one made from its body."""
        return self._values.get("ContentBasedDeduplication") == "true"

    @property
    def deduplicates_by_group(self) -> bool:
        """Whether equal deduplication ids matter only within a group."""
        return self._values.get("DeduplicationScope") == "messageGroup"

    @property
    def has_key(self) -> bool:
        """Whether messages are encrypted with a KMS key."""
        return "KmsMasterKeyId" in self._values

    def lower_limit(self, limit_bytes: int) -> None:
        """Set the size limit without the check for AWS's minimum of 1 KiB."""
        self.update({"MaximumMessageSize": str(limit_bytes)})

    def number(self, name: str) -> int:
        """Return an attribute that is a number."""
        return self._numbers[name]

    def differing(self, given: Mapping[str, str]) -> str | None:
        """Return the first given attribute whose value differs from the queue's, or None."""
        return next((name for name in given if self._values.get(name) != given[name]), None)

    def _choose_encryption(self, given: Mapping[str, str]) -> None:
        # "Only one server-side encryption option is supported per queue" (SetQueueAttributes).
        if given.get("KmsMasterKeyId"):
            self._values["SqsManagedSseEnabled"] = "false"
            self._values.setdefault("KmsDataKeyReusePeriodSeconds", _KEY_REUSE_S)
        elif given.get("SqsManagedSseEnabled") == "true":
            self._values.pop("KmsMasterKeyId", None)

    def values(self) -> dict[str, str]:
        """Return every attribute that is set."""
        return dict(self._values)


def check_new_settings(raw: Mapping[str, object], *, ordered: bool) -> dict[str, str]:
    """Return the attributes of a ``CreateQueue`` request, checked.

    Args:
        raw: the attributes as they came.
        ordered: whether they make a FIFO queue.

    Raises:
        SQSError: an unknown name, a value out of range, or malformed JSON.
    """
    checked = _check_all(raw, ordered)
    if not ordered:
        checked.pop("FifoQueue", None)
    _check_together(_FIFO_DEFAULTS | checked)
    return checked


def check_changes(raw: Mapping[str, object], present: Settings) -> dict[str, str]:
    """Return the attributes of a ``SetQueueAttributes`` request, checked.

    Raises:
        SQSError: as at creation; and ``FifoQueue``, which cannot be changed.
    """
    if "FifoQueue" in raw:
        text = "You can provide FifoQueue only during queue creation."
        raise SQSError("InvalidAttributeName", text)
    checked = _check_all(raw, present.ordered)
    _check_together(present.values() | checked)
    return checked


def _check_all(raw: Mapping[str, object], ordered: bool) -> dict[str, str]:
    if raw.get("KmsMasterKeyId") and raw.get("SqsManagedSseEnabled") == "true":
        raise SQSError(
            "InvalidAttributeValue",
            "You can use one type of server-side encryption (SSE) at one time. You can either "
            "enable KMS SSE or SQS SSE.",
        )
    checked: dict[str, str] = {}
    for name, value in raw.items():
        if not isinstance(value, str):
            raise wrong_type(f"Attributes.{name}", "a string")
        if name in _ONLY_FIFO and name != "FifoQueue" and not ordered:
            text = f"You can specify the {name} only when FifoQueue is set to true"
            raise SQSError("InvalidAttributeName", text)
        _check(name, value)
        checked[name] = value
    return checked


def _check_together(values: Mapping[str, str]) -> None:
    by_group = values.get("DeduplicationScope") == "messageGroup"
    if values.get("FifoThroughputLimit") == "perMessageGroupId" and not by_group:
        raise SQSError(
            "InvalidAttributeValue",
            "The perMessageGroupId value is allowed only when the value for DeduplicationScope "
            "is messageGroup.",
        )


def _check(name: str, value: str) -> None:
    if name not in _SETTABLE | _ONLY_FIFO:
        raise SQSError("InvalidAttributeName", f"Unknown Attribute {name}.")
    if name in _RANGES and not _in_range(value, *_RANGES[name]):
        raise invalid_value(name)
    if name in _CHOICES and value not in _CHOICES[name]:
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
    if permission == "byQueue":
        fits = isinstance(sources, list) and 1 <= len(sources) <= 10
    else:
        fits = sources is None
    if not fits:
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
