"""The wire: how a message looks on a queue. Pure functions, no I/O.

Two attributes and the body are the older 0.3.x wire and stay as they are: ``Name`` is the
message name, ``Compression`` is ``on`` or ``off``, the body is a JSON object, or base85 of
gzip of it when the JSON alone would exceed the queue's limit. Everything newer (id, sent
time, headers, dead letter reason) is packed into one further attribute, ``MQ``, so that
seven of SQS's ten stay free. Readers ignore attributes that they do not know.
"""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

from mqtransport.errors import MalformedMessageError
from mqtransport.limits import size_bytes
from mqtransport.message import Attribute, DeadLetter, RawDelivery

NAME = "Name"
COMPRESSION = "Compression"
FACTS = "MQ"

ACCESS_CHECK = "_access_check"
"""Older producers probe a queue with a message of this name; it is acked and ignored."""

MAX_DECOMPRESSED_BYTES = 8 * 1024 * 1024
"""Eight times the largest message: far above honest JSON, far below a bomb's 1000-fold."""

_T = TypeVar("_T")
_ON = Attribute("String", "on")
_OFF = Attribute("String", "off")
# What the attributes of an uncompressed message count beside its name and its facts.
_FRAME_BYTES = size_bytes(
    "", {NAME: Attribute("String", ""), COMPRESSION: _OFF, FACTS: Attribute("String", "")}
)
_MESSAGE_ID = re.compile(r"[!-~]{1,128}\Z")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
# json.dumps makes an encoder at each call, which takes 1.5 us.
_JSON = json.JSONEncoder(separators=(",", ":"))
# Legal JSON, but not legal on SQS when raw; inside JSON they only occur in strings.
_NONCHARACTERS = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What travels in the ``MQ`` attribute.

    Attributes:
        id: the message id; None for messages of older or foreign producers.
        sent_at: Unix seconds at which the producer sent it; None if unknown.
        headers: user headers.
        dead_letter: why the message was dead-lettered, if it was.
    """

    id: str | None = None
    sent_at: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    dead_letter: DeadLetter | None = None


@dataclass(frozen=True, slots=True)
class Envelope:
    """A received message after its attributes were read; the body is still packed.

    Attributes:
        name: the message name.
        compressed: whether the body is base85 of gzip.
        facts: what the ``MQ`` attribute says.
    """

    name: str
    compressed: bool
    facts: Facts


def is_message_name(name: str) -> bool:
    """Return whether the name is legal: 1 to 128 of letters, digits, dot, dash, underscore."""
    return bool(_NAME.match(name))


def is_message_id(message_id: str) -> bool:
    """Return whether the id is legal: 1 to 128 printable ASCII characters without blanks."""
    return bool(_MESSAGE_ID.match(message_id))


def pack(
    name: str, text: str, facts: str, *, max_bytes: int
) -> tuple[str, dict[str, Attribute], int]:
    """Return body, attributes and size of a message on the wire.

    Args:
        name: the message name; ASCII, as the facts.
        text: the body, a JSON object as text.
        facts: the text of the ``MQ`` attribute: :func:`new_facts` or :func:`pack_facts`.
        max_bytes: the queue's size limit; above it the body is compressed. What is still too
            large then is left to the caller to refuse.
    """
    if not text.isascii():
        text = text.translate(_NONCHARACTERS)
    attributes = {
        NAME: _name_attribute(name),
        COMPRESSION: _OFF,
        FACTS: Attribute("String", facts),
    }
    size = size_bytes(text, {}) + _FRAME_BYTES + len(name) + len(facts)
    if size <= max_bytes:
        return text, attributes, size
    attributes[COMPRESSION] = _ON
    body = compress(text)
    return body, attributes, size_bytes(body, attributes)


@lru_cache(maxsize=256)
def _name_attribute(name: str) -> Attribute:
    return Attribute("String", name)


def compress(text: str) -> str:
    """Return base85 of gzip of the text; the same text gives the same result."""
    data = gzip.compress(text.encode("utf-8", "surrogatepass"), mtime=0)
    return base64.b85encode(data).decode("ascii")


def decompress(body: str, *, max_bytes: int = MAX_DECOMPRESSED_BYTES) -> str:
    """Undo :func:`compress`, never producing more than ``max_bytes``.

    Raises:
        MalformedMessageError: not base85, not gzip, cut off, or larger than the bound.
    """
    try:
        data = base64.b85decode(body)
        unpacker = zlib.decompressobj(wbits=31)  # 31: gzip header and checksum
        text = unpacker.decompress(data, max_bytes)
        if unpacker.unconsumed_tail:
            raise MalformedMessageError(f"the body has more than {max_bytes} bytes unpacked")
        if not unpacker.eof:
            raise MalformedMessageError("the compressed body is cut off")
        if unpacker.unused_data:
            raise MalformedMessageError("there is something behind the compressed body")
        return text.decode("utf-8")
    except (ValueError, zlib.error) as error:
        raise MalformedMessageError("the body is not base85 of gzip of UTF-8 text") from error


def body_text(raw: RawDelivery, *, compressed: bool) -> str:
    """Return the JSON text of a received body.

    Raises:
        MalformedMessageError: it cannot be unpacked within the bound.
    """
    return decompress(raw.body) if compressed else raw.body


def read_envelope(raw: RawDelivery) -> Envelope:
    """Read the attributes of a received message.

    Raises:
        MalformedMessageError: as :func:`read_name`. A broken ``MQ`` attribute only costs what
            it carried.
    """
    name, compressed = read_name(raw.attributes)
    return Envelope(name, compressed, read_facts(raw.attributes))


def read_name(attributes: Mapping[str, Attribute], known: Container[str] = ()) -> tuple[str, bool]:
    """Return the message name, and whether the body is compressed.

    Args:
        attributes: those of a received message.
        known: names of which it is known that they are legal.

    Raises:
        MalformedMessageError: ``Name`` is missing or illegal, or ``Compression`` is neither on
            nor off; without it the body is plain.
    """
    name, compression = _text(attributes, NAME), _text(attributes, COMPRESSION)
    if name is None:
        raise MalformedMessageError(f"there is no {NAME!r} attribute")
    if name not in known and not is_message_name(name):
        raise MalformedMessageError(f"{name[:40]!r} is no legal message name")
    if compression not in ("off", "on", None):
        raise MalformedMessageError(f"the {COMPRESSION!r} attribute is neither on nor off")
    return name, compression == "on"


def new_facts(message_id: str, sent_at: float, headers: Mapping[str, str] | None) -> str:
    """Return the text of the ``MQ`` attribute of a new message.

    The same as :func:`pack_facts` of these facts, at a seventh of its cost.
    """
    text = f'{{"id":{_JSON.encode(message_id)},"ts":{round(sent_at * 1000)}'
    return f'{text},"h":{_JSON.encode(dict(headers))}}}' if headers else text + "}"


def pack_facts(facts: Facts) -> str:
    """Return the text of the ``MQ`` attribute; plain ASCII, so every character is legal."""
    record: dict[str, Any] = {}
    if facts.id is not None:
        record["id"] = facts.id
    if facts.sent_at is not None:
        record["ts"] = round(facts.sent_at * 1000)
    if facts.headers:
        record["h"] = dict(facts.headers)
    if (dead := facts.dead_letter) is not None:
        entry = {
            "error": dead.error,
            "text": dead.text,
            "attempts": dead.attempts,
            "queue": dead.queue,
            "first": None if dead.first_at is None else round(dead.first_at * 1000),
            "last": round(dead.last_at * 1000),
            "consumer": dead.consumer,
        }
        record["dl"] = {key: value for key, value in entry.items() if value not in (None, "")}
    return _JSON.encode(record)


def read_facts(attributes: Mapping[str, Attribute]) -> Facts:
    """Read the ``MQ`` attribute; what is missing or of a wrong type is left out."""
    text = _text(attributes, FACTS)
    if text is None:
        return Facts()
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return Facts()
    if not isinstance(record, dict):
        return Facts()
    headers = record.get("h")
    message_id = _typed(record.get("id"), str)
    if message_id is not None and not is_message_id(message_id):
        message_id = None  # it would go into logs: foreign text may not
    return Facts(
        id=message_id,
        sent_at=_seconds(record.get("ts")),
        headers=_strings(headers) if isinstance(headers, dict) else {},
        dead_letter=_dead_letter(record.get("dl")),
    )


def _dead_letter(record: object) -> DeadLetter | None:
    if not isinstance(record, dict):
        return None
    return DeadLetter(
        error=_typed(record.get("error"), str) or "unknown",
        text=_typed(record.get("text"), str) or "",
        attempts=_typed(record.get("attempts"), int) or 0,
        queue=_typed(record.get("queue"), str) or "",
        first_at=_seconds(record.get("first")),
        last_at=_seconds(record.get("last")) or 0.0,
        consumer=_typed(record.get("consumer"), str),
    )


def _text(attributes: Mapping[str, Attribute], name: str) -> str | None:
    found = attributes.get(name)
    return found.value if found is not None and isinstance(found.value, str) else None


def _strings(record: Mapping[Any, Any]) -> dict[str, str]:
    return {key: value for key, value in record.items() if isinstance(value, str)}


def _seconds(milliseconds: object) -> float | None:
    if isinstance(milliseconds, bool):
        return None
    if isinstance(milliseconds, int | float) and abs(milliseconds) < 1e16:
        return milliseconds / 1000
    return None


def _typed(value: object, kind: type[_T]) -> _T | None:
    return value if isinstance(value, kind) else None


def dead_letter_attributes(
    raw: RawDelivery, reason: DeadLetter, *, max_bytes: int, max_attributes: int
) -> tuple[dict[str, Attribute], bool]:
    """Return the attributes of a dead letter copy: the original ones and the reason.

    If both exceed a limit the reason is shortened, then left out; the original never is.

    Args:
        raw: the original; its body travels byte for byte.
        reason: why it is dead-lettered.
        max_bytes: the dead letter queue's size limit.
        max_attributes: the broker's limit on attributes.

    Returns:
        The attributes, and whether the reason is among them.
    """
    original = dict(raw.attributes)
    record = _facts_record(original)
    if record is None or (FACTS not in original and len(original) >= max_attributes):
        return original, False
    record.setdefault("id", raw.broker_id)
    for text in (reason.text, reason.text[:80], ""):
        shorter = dataclasses.replace(reason, text=text)
        entry = json.loads(pack_facts(Facts(dead_letter=shorter)))
        packed = _JSON.encode(record | entry)
        attributes = original | {FACTS: Attribute("String", packed)}
        if size_bytes(raw.body, attributes) <= max_bytes:
            return attributes, True
    return original, False


def _facts_record(attributes: Mapping[str, Attribute]) -> dict[str, Any] | None:
    """Return the ``MQ`` attribute as it is, ``{}`` without one, None if it is none of ours."""
    if FACTS not in attributes:
        return {}
    try:
        record = json.loads(_text(attributes, FACTS) or "")
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
