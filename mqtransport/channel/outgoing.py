"""From what an application sends to what a broker gets, and back for export. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any, NoReturn

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError, to_json

from mqtransport import wire
from mqtransport.channel.outbox import Entry
from mqtransport.checks import check_number
from mqtransport.clock import Clock
from mqtransport.errors import ImportMessageError, MessageRefusedError, UsageError
from mqtransport.limits import why_content_refused, why_refused_here
from mqtransport.message import NO_EXTRAS, Outgoing, RawDelivery, SendExtras
from mqtransport.participants import Producer

PACK_INLINE_CHARS = 256 * 1024
"""Larger bodies are packed in a thread: compressing a MiB would hold the loop up for 0.1 s."""

MAX_LISTED = 50
"""A validation error with more faults than this is only counted."""

MASK = "**********"
"""What pydantic writes in place of a secret."""

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
_UNKNOWN = object()
_SECRETS = (Secret, SecretStr, SecretBytes)

# Python and pydantic refuse to read integers of more digits.
_HUGE_INTEGER = re.compile(r"[0-9]{4301}")


@dataclass(frozen=True, slots=True)
class Packer:
    """Packs messages for one queue, and refuses what the queue would refuse.

    Attributes:
        queue: the queue's name as the code knows it, for messages.
        max_bytes: its size limit in force.
        clock: source of the sent time.
        fifo: whether the queue is an ordered one.
    """

    queue: str
    max_bytes: int
    clock: Clock
    fifo: bool = False

    def pack(self, name: str, text: str, message_id: str, extras: SendExtras) -> Entry:
        """Return the message, ready for the outbox.

        Raises:
            MessageRefusedError: the broker would never take it.
            UsageError: the name, the message id or one of the extras is no such thing.
        """
        _check_words(name, message_id, extras)
        if len(text) > wire.MAX_DECOMPRESSED_BYTES:
            # It might well be compressed below the limit, but no reader would unpack it.
            self.refuse(name, message_id, f"its JSON has {len(text)} characters")
        facts = wire.new_facts(message_id, self.clock.time(), extras.headers)
        body, attributes, size = wire.pack(name, text, facts, max_bytes=self.max_bytes)
        message = Outgoing(
            message_id, body, attributes, extras.delay_s, extras.group, extras.dedup_id
        )
        # The attributes are our own: two fixed words, a name that was checked, and ASCII.
        if why := why_content_refused(message) or why_refused_here(
            message, max_bytes=self.max_bytes, fifo=self.fifo, size=size
        ):
            self.refuse(name, message_id, why)
        message.sound_bytes = size
        return Entry(name, message, size)

    def check_model(self, producer: Producer[Any], message: object, message_id: str) -> None:
        """Refuse a body that is no instance of the producer's model.

        Raises:
            MessageRefusedError: it is not.
        """
        if not isinstance(message, producer.Model):
            wanted, found = producer.Model.__name__, type(message).__name__
            why = f"the producer takes {wanted}, not {found}; "
            if isinstance(message, Mapping):
                why += f"write {wanted}(**fields), or use produce(**fields)"
            else:
                why += "messages of another model need a producer of their own"
            self.refuse(producer.name, message_id, why)

    def text_of_fields(
        self, label: str, model: type[BaseModel], message_id: str, fields: Mapping[str, Any]
    ) -> str:
        """Return the JSON text of the fields, validated against the model.

        Raises:
            MessageRefusedError: they do not fit the model, or do not fit into JSON.
        """
        try:
            instance = model.model_validate(fields)
        except ValidationError as error:
            self.refuse(label, message_id, summarise(error))  # not chained: it quotes the values
        return self.text_of_model(label, instance, message_id)

    def text_of_model(self, label: str, message: BaseModel, message_id: str) -> str:
        """Return the JSON text of the model.

        Raises:
            MessageRefusedError: it has no JSON form that its own model can read.
        """
        why = None
        try:
            text = _json_of(message)
            # A single letter is found at memory's speed, two of them take 0.2 us.
            if "null" in text or ("*" in text and MASK[:2] in text):  # a Secret may have its own
                dumped = _dumped(message)
                if _is_doubtful(dumped):
                    why = _why_unfaithful(dumped, json.loads(text))
            if (
                ("N" in text and "NaN" in text)
                or ("I" in text and "Infinity" in text)
                or _HUGE_INTEGER.search(text)
            ):
                json.loads(text, parse_constant=_no_constant)
        except (PydanticSerializationError, ValueError) as error:
            self.refuse(label, message_id, "it has no JSON form", error)
        if why is not None:
            self.refuse(label, message_id, why)
        return text

    def text_of_body(self, name: str, body: object, message_id: str) -> str:
        """Return the JSON text of a body given as a mapping.

        Raises:
            MessageRefusedError: it has no JSON form.
        """
        if not isinstance(body, Mapping):
            raise UsageError(f"message {name!r}: the body must be a mapping, not {type(body)}")
        why = None
        try:
            text = to_json(dict(body), inf_nan_mode="constants").decode()
            written = json.loads(text, parse_constant=_no_constant)
            if MASK[:2] in text:  # a secret, maybe one of a model in the body
                why = _why_unfaithful(_ANYTHING.dump_python(dict(body)), written)
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            self.refuse(name, message_id, "the body has no JSON form", error)
        if why is not None:
            self.refuse(name, message_id, why)
        return text

    def refuse(
        self, label: str, message_id: str, why: str, cause: Exception | None = None
    ) -> NoReturn:
        """Raise MessageRefusedError with a message that names the queue and the reason."""
        raise MessageRefusedError(
            f"message {label!r} cannot be sent to queue {self.queue!r}: {why}",
            queue=self.queue,
            message_id=message_id,
            outcome="not_sent",
        ) from cause


def summarise(error: ValidationError) -> str:
    """Return what a validation error says, without the values: they may be confidential."""
    if error.error_count() > MAX_LISTED:
        return f"{error.error_count()} errors"  # listing a million of them takes seconds
    found = error.errors(include_url=False, include_context=False, include_input=False)
    parts = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {_text(one)}" for one in found[:3]]
    if len(found) > 3:
        parts.append(f"and {len(found) - 3} more")
    return "; ".join(parts)


def _text(error: ErrorDetails) -> str:
    # The one kind whose text quotes the value, although it was asked not to.
    return (
        "the tag is none of the known ones"
        if error["type"] == "union_tag_invalid"
        else error["msg"]
    )


def export_record(entry: Entry) -> dict[str, Any]:
    """Return an unsent message as plain data, fit for JSON."""
    message = entry.message
    raw = RawDelivery("", "", message.body, message.attributes, 1)
    envelope = wire.read_envelope(raw)
    record: dict[str, Any] = {
        "name": entry.name,
        "body": json.loads(wire.body_text(raw, compressed=envelope.compressed)),
        "id": message.id,
        "headers": dict(envelope.facts.headers),
        "delay_s": message.delay_s,
        "group": message.group,
        "dedup_id": message.dedup_id,
    }
    return {key: value for key, value in record.items() if value not in (None, {})} | {
        "body": record["body"]
    }


def import_record(packer: Packer, record: object, new_id: str, index: int = 0) -> Entry:
    """Return the message that :func:`export_record` (or an older service) exported.

    Args:
        packer: that of the queue.
        record: the exported message.
        new_id: the id that it gets if it has none.
        index: its place among the records of the queue, from 0; for the error.

    Raises:
        ImportMessageError: it is no such record, or can never be sent; says which one it is.
    """
    where = f"queue {packer.queue!r}, record {index} (counted from 0)"
    if not isinstance(record, Mapping) or "name" not in record or "body" not in record:
        raise ImportMessageError(
            f'{where}: an unsent message must be a mapping with "name" and "body"'
        )
    message_id = record.get("id") or new_id
    if isinstance(message_id, str) and message_id != new_id and wire.is_message_id(message_id):
        where = f"{where} with the id {message_id!r}"
    try:
        extras = SendExtras(
            delay_s=record.get("delay_s"),
            group=record.get("group"),
            dedup_id=record.get("dedup_id"),
            headers=record.get("headers"),
        )
        text = packer.text_of_body(record["name"], record["body"], message_id)
        return packer.pack(record["name"], text, message_id, extras)
    except (MessageRefusedError, UsageError, TypeError) as error:
        raise ImportMessageError(f"{where}: {error}") from error


def _json_of(message: BaseModel) -> str:
    if type(message).model_dump_json is BaseModel.model_dump_json:
        # What it does but for its 16 arguments, which take as long as the rest.
        return message.__pydantic_serializer__.to_json(message, by_alias=True).decode()
    return message.model_dump_json(by_alias=True)


_is_sound_name = lru_cache(maxsize=256)(wire.is_message_name)


def _check_words(name: object, message_id: object, extras: SendExtras) -> None:
    if not isinstance(name, str) or not _is_sound_name(name):
        raise UsageError(
            f"{name!r} is no message name; it has 1 to 128 letters, digits, dots, dashes or "
            f"underscores"
        )
    if not isinstance(message_id, str) or not wire.is_message_id(message_id):
        raise UsageError("message_id must be 1 to 128 printable ASCII characters without blanks")
    if extras is NO_EXTRAS:
        return
    if extras.delay_s is not None:
        check_number("delay_s", extras.delay_s)
    for label, word in (("group", extras.group), ("dedup_id", extras.dedup_id)):
        if word is not None and not isinstance(word, str):
            raise UsageError(f"{label} must be a str, not {type(word).__name__}")
    headers: object = extras.headers
    if headers is not None and not isinstance(headers, Mapping):
        raise UsageError(f"headers must be a mapping of str to str, not {type(headers).__name__}")
    for key, value in (headers or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise UsageError(f"header {key!r}: names and values of headers must be str")


def _dumped(message: BaseModel) -> object:
    try:
        return message.model_dump()
    except TypeError:  # a set of models: pydantic makes dicts of them, which no set can hold
        return None


def _is_doubtful(value: object) -> bool:
    """Return whether it holds what pydantic may write as something else; quick."""
    if value is None or isinstance(value, str | int | bytes):
        return False
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_is_doubtful, value)) or any(map(_is_doubtful, value.values()))
    if isinstance(value, Collection):
        return any(map(_is_doubtful, value))
    return isinstance(value, _SECRETS)


def _why_unfaithful(value: object, written: object, field: str = "") -> str | None:
    """Return what pydantic wrote as something else without a word, or None if nothing is.

    Args:
        value: what the model holds.
        written: what its JSON text holds in that place.
        field: the field of the message in which it lies; empty for the message itself.
    """
    if isinstance(value, float):
        if not math.isfinite(value) and (written is None or written is _UNKNOWN):
            return f"field {field!r} holds {value}, which JSON lacks"
    elif isinstance(value, _SECRETS):
        if written is _UNKNOWN or (written and written in (MASK, str(value))):
            return (
                f"field {field!r} holds a secret, which is written as asterisks; give it a "
                f"serializer (field_serializer) that writes what the consumer needs"
            )
    elif isinstance(value, Mapping) and isinstance(written, Mapping):
        for (key, one), (name, wrote) in zip(value.items(), written.items(), strict=False):
            label = field or str(key)
            if why := _why_unfaithful(key, name, label) or _why_unfaithful(one, wrote, label):
                return why
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        places: Iterable[object] = written if isinstance(written, list) else ()
        if isinstance(value, Set) or written is _UNKNOWN:
            places = repeat(_UNKNOWN)  # a set is dumped and written in orders of their own
        for one, wrote in zip(value, places, strict=False):
            if why := _why_unfaithful(one, wrote, field):
                return why
    return None


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
