"""The JSON of the hot verbs, read and written without botocore's shapes; no I/O."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic_core import from_json, to_json

from mqtransport.brokers.sqs.errors import BadReplyError

OPERATIONS: Mapping[str, str] = {
    "send_message_batch": "SendMessageBatch",
    "receive_message": "ReceiveMessage",
    "delete_message_batch": "DeleteMessageBatch",
    "change_message_visibility_batch": "ChangeMessageVisibilityBatch",
}
"""The hot verbs: as aiobotocore names them, and as SQS does."""


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def codec(orjson: Any) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    """Return how JSON is written and read: by orjson if there is one, else by pydantic."""
    # pydantic's takes half of the time of Python's own, and is there in any case.
    if orjson is None:
        return to_json, partial(from_json, cache_strings="keys")
    return orjson.dumps, orjson.loads


_dumps, _loads = codec(_optional("orjson"))


def write(parameters: Mapping[str, Any]) -> bytes:
    """Return the body of a request."""
    try:
        written: bytes = _dumps(parameters)
    except (TypeError, ValueError):  # a lone surrogate; json escapes it, SQS refuses it
        written = json.dumps(parameters).encode()
    return written


def read(answer: bytes) -> dict[str, Any]:
    """Return the answer; what is no JSON counts as an empty one, as in aiobotocore."""
    try:
        parsed = _loads(answer)
    except (ValueError, RecursionError):
        parsed = _read_leniently(answer)
    if not isinstance(parsed, dict):
        raise BadReplyError("the answer is no object")
    return parsed


def _read_leniently(answer: bytes) -> object:
    # Python's reader takes what stricter ones do not, lone surrogates for one: such a message
    # is refused alone, and not the whole answer with it.
    try:
        return json.loads(answer.decode())
    except UnicodeDecodeError:
        raise BadReplyError("the answer is no text") from None
    except (ValueError, RecursionError):
        return {}
