"""Message groups, deduplication ids and attempt ids: how they are read from a request.

Sources: ``MessageGroupId``, ``MessageDeduplicationId`` and ``ReceiveRequestAttemptId`` in the
service model.
"""

from __future__ import annotations

import hashlib
import re

from .errors import SQSError, invalid_parameter, missing_parameter, wrong_queue_type
from .params import Params, optional_text

# Alphanumeric characters and !"#$%&'()*+,-./:;<=>?@[\]^_`{|}~ are exactly ASCII 0x21 to 0x7E.
_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")


def read_group(params: Params, *, required: bool) -> str | None:
    """Return the message group id; a standard queue with groups is a fair queue.

    Raises:
        SQSError: it is required and absent, or not 1 to 128 of the allowed characters.
    """
    group = _read(params, "MessageGroupId")
    if group is None and required:
        raise missing_parameter("MessageGroupId")
    return group


def read_dedup_id(params: Params, body: str, *, ordered: bool, by_content: bool) -> str | None:
    """Return the message deduplication id, made from the body where the queue does so.

    Raises:
        SQSError: it is missing on a FIFO queue, given on a standard one, or not 1 to 128 of the
            allowed characters.
    """
    dedup_id = _read_ordered(params, "MessageDeduplicationId", ordered=ordered)
    if dedup_id is not None or not ordered:
        return dedup_id
    if by_content:
        return hashlib.sha256(body.encode()).hexdigest()
    raise SQSError(
        "InvalidParameterValue",
        "The queue should either have ContentBasedDeduplication enabled or "
        "MessageDeduplicationId provided explicitly",
    )


def read_attempt_id(params: Params, *, ordered: bool) -> str | None:
    """Return the ``ReceiveRequestAttemptId``.

    Raises:
        SQSError: it is given on a standard queue, or not 1 to 128 of the allowed characters.
    """
    return _read_ordered(params, "ReceiveRequestAttemptId", ordered=ordered)


def _read_ordered(params: Params, name: str, *, ordered: bool) -> str | None:
    if params.get(name) is not None and not ordered:
        raise wrong_queue_type(name, params[name])
    return _read(params, name)


def _read(params: Params, name: str) -> str | None:
    value = optional_text(params, name)
    if value is not None and not _ID.match(value):
        reason = "can only include alphanumeric and punctuation characters. 1 to 128 in length."
        raise invalid_parameter(name, value, f"{name} {reason}")
    return value
