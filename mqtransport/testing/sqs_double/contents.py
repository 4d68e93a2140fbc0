"""SQS's rules about what a message may hold, written from the AWS documentation alone.

This module shares no code with the library's own limits: the double is an independent judge.
Sources: "SendMessage", "MessageAttributeValue" and "ReceiveMessage" in the service model, and
"Amazon SQS message metadata" in the developer guide.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .errors import SQSError
from .groups import read_dedup_id, read_group
from .params import Params, mapping, optional_text, required_text, wrong_type

HARD_LIMIT_BYTES = 1_048_576
"""1 MiB: the most a queue can allow for a message, and the limit of a batch (SendMessageBatch)."""

MAX_ATTRIBUTES = 10
MAX_NAME_CHARS = 256

# The complement of #x9 | #xA | #xD | #x20-#xD7FF | #xE000-#xFFFD | #x10000-#x10FFFF (SendMessage).
_OUTSIDE_SET = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NAME = re.compile(r"[A-Za-z0-9_.\-]+\Z")
_RESERVED = ("aws.", "amazon.")
_TYPE = re.compile(r"(String|Number|Binary)(\.[A-Za-z0-9_.\-]+)?\Z")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?\Z")
_TRACE = re.compile(r"(.*;)?\s*Root=1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}(;.*)?\Z")


@dataclass(frozen=True, slots=True)
class AttributeValue:
    """The value of one message attribute, as it was sent.

    Args:
        data_type: ``String``, ``Number`` or ``Binary``, with an optional ``.label``.
        value: text, or bytes for ``Binary``.
    """

    data_type: str
    value: str | bytes

    @property
    def encoded(self) -> bytes:
        """The value as bytes."""
        return self.value if isinstance(self.value, bytes) else self.value.encode()

    def to_json(self) -> dict[str, str]:
        """Return the value as SQS answers it."""
        if isinstance(self.value, bytes):
            data = base64.b64encode(self.value).decode("ascii")
            return {"BinaryValue": data, "DataType": self.data_type}
        return {"StringValue": self.value, "DataType": self.data_type}


@dataclass(frozen=True, slots=True)
class Contents:
    """A message's body and attributes, checked."""

    body: str
    attributes: dict[str, AttributeValue]
    trace_header: str | None
    group: str | None
    dedup_id: str | None


def check_characters(text: str) -> None:
    """Raise ``InvalidMessageContents`` if the text has a character that SQS refuses."""
    found = _OUTSIDE_SET.search(text)
    if found:
        number = f"#x{ord(found.group()):X}"
        raise SQSError(
            "InvalidMessageContents",
            f"Invalid binary character '{number}' was found in the message body, the set of "
            "allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
            "#x10000 to #x10FFFF",
        )


def read_contents(
    params: Params, *, limit_bytes: int, ordered: bool = False, by_content: bool = False
) -> Contents:
    """Return the checked contents of a message to send.

    Args:
        params: a ``SendMessage`` request, or an entry of a batch.
        limit_bytes: the queue's ``MaximumMessageSize``.
        ordered: whether the queue is a FIFO queue.
        by_content: whether it has ``ContentBasedDeduplication``.

    Raises:
        SQSError: something in it breaks a rule.
    """
    body = required_text(params, "MessageBody")
    check_characters(body)
    attributes = read_attributes(params)
    if size_bytes(body, attributes) > limit_bytes:
        raise SQSError(
            "InvalidParameterValue",
            "One or more parameters are invalid. "
            f"Reason: Message must be shorter than {limit_bytes} bytes.",
        )
    return Contents(
        body,
        attributes,
        _read_trace_header(params),
        read_group(params, required=ordered),
        read_dedup_id(params, body, ordered=ordered, by_content=by_content),
    )


def size_bytes(body: str, attributes: dict[str, AttributeValue]) -> int:
    """Return the size that SQS counts: body and every attribute's name, type and value."""
    size = len(body.encode())
    for name, value in attributes.items():
        size += len(name.encode()) + len(value.data_type.encode()) + len(value.encoded)
    return size


def raw_size_bytes(params: Params) -> int:
    """Return the size of an entry that has not been checked yet, for the limit of a batch."""
    size = _length(params.get("MessageBody"))
    attributes = params.get("MessageAttributes")
    for name, value in (attributes if isinstance(attributes, dict) else {}).items():
        size += _length(name)
        if isinstance(value, dict):
            binary = value.get("BinaryValue")
            size += _length(value.get("DataType")) + _length(value.get("StringValue"))
            size += len(binary) * 3 // 4 - binary.count("=") if isinstance(binary, str) else 0
    return size


def _length(text: object) -> int:
    # A lone surrogate is refused later, entry by entry; here it only has to be counted.
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0


def read_attributes(params: Params) -> dict[str, AttributeValue]:
    """Return the checked message attributes of a request or entry.

    Raises:
        SQSError: an attribute breaks a rule, or there are more than 10.
    """
    raw = mapping(params, "MessageAttributes")
    if len(raw) > MAX_ATTRIBUTES:
        raise SQSError(
            "InvalidParameterValue",
            f"Number of message attributes [{len(raw)}] exceeds the allowed maximum [10].",
        )
    return {name: _read_attribute(name, value) for name, value in raw.items()}


def _read_attribute(name: str, raw: object) -> AttributeValue:
    _check_name(name)
    if not isinstance(raw, dict):
        raise wrong_type(f"MessageAttributes.{name}", "an object")
    return read_value(name, raw)


def read_value(name: str, raw: dict[str, Any]) -> AttributeValue:
    """Return the checked value of an attribute.

    Raises:
        SQSError: type or value break a rule.
    """
    data_type = optional_text(raw, "DataType")
    if not data_type:
        raise _bad_attribute(name, "must contain a non-empty message attribute type.")
    if len(data_type) > MAX_NAME_CHARS or not _TYPE.match(data_type):
        raise _bad_attribute(
            name,
            "has an invalid message attribute type, "
            "the set of supported type prefixes is Binary, Number, and String.",
        )
    if raw.get("StringListValues") or raw.get("BinaryListValues"):
        raise SQSError("UnsupportedOperation", "Message attribute list values are not supported.")
    if data_type.startswith("Binary"):
        return AttributeValue(data_type, _read_binary(name, raw))
    return AttributeValue(data_type, _read_string(name, data_type, raw))


def _read_binary(name: str, raw: dict[str, Any]) -> bytes:
    text = optional_text(raw, "BinaryValue")
    if not text or raw.get("StringValue") is not None:
        raise _bad_attribute(name, "must contain a non-empty value of type 'Binary'.")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise wrong_type(f"MessageAttributes.{name}.BinaryValue", "base64") from error


def _read_string(name: str, data_type: str, raw: dict[str, Any]) -> str:
    text = optional_text(raw, "StringValue")
    if not text or raw.get("BinaryValue") is not None:
        kind = data_type.partition(".")[0]
        raise _bad_attribute(name, f"must contain a non-empty value of type '{kind}'.")
    check_characters(text)
    if data_type.startswith("Number") and not _is_number(text):
        raise SQSError(
            "InvalidParameterValue",
            f"Can't cast the value of message (user) attribute '{name}' to a number.",
        )
    return text


def _is_number(text: str) -> bool:
    """Up to 38 digits, from 10^-128 to 10^+126 (developer guide, message attribute data types)."""
    if not _NUMBER.match(text):
        return False
    number = Decimal(text)
    digits = number.as_tuple().digits
    if number and not -128 <= number.adjusted() <= 126:
        return False
    return len("".join(map(str, digits)).strip("0")) <= 38


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME_CHARS:
        raise _bad_attribute(name, "name must be 1 to 256 characters long.")
    if not _NAME.match(name):
        raise _bad_attribute(
            name,
            "name can contain alphanumeric characters, underscore (_), hyphen (-) and period (.).",
        )
    if name.startswith(".") or name.endswith(".") or ".." in name:
        raise _bad_attribute(
            name, "name must not start or end with a period or have periods in succession."
        )
    if name.lower().startswith(_RESERVED):
        raise _bad_attribute(name, "name must not start with a reserved prefix, AWS. or Amazon.")


def _bad_attribute(name: str, reason: str) -> SQSError:
    return SQSError("InvalidParameterValue", f"Message (user) attribute '{name}' {reason}")


def _read_trace_header(params: Params) -> str | None:
    raw = mapping(params, "MessageSystemAttributes")
    if not raw:
        return None
    if set(raw) != {"AWSTraceHeader"} or not isinstance(raw["AWSTraceHeader"], dict):
        raise SQSError("InvalidParameterValue", "The only system attribute is AWSTraceHeader.")
    value = read_value("AWSTraceHeader", raw["AWSTraceHeader"])
    if (
        value.data_type != "String"
        or not isinstance(value.value, str)
        or not _TRACE.match(value.value)
    ):
        raise SQSError(
            "InvalidParameterValue", "AWSTraceHeader must be a String with an X-Ray trace header."
        )
    return value.value
