"""Batches: the rules about their entries, and the two lists of their results."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .contents import HARD_LIMIT_BYTES, raw_size_bytes
from .errors import SQSError, missing_parameter
from .faults import Faults
from .params import Params, wrong_type

MAX_ENTRIES = 10
_ID = re.compile(r"[A-Za-z0-9_\-]{1,80}\Z")

Entry = dict[str, Any]


def read_entries(params: Params) -> list[Entry]:
    """Return the entries of a batch request, with ids that are legal and distinct.

    Raises:
        SQSError: too few or too many entries, or a bad or repeated id.
    """
    entries = params.get("Entries")
    if entries is None:
        raise missing_parameter("Entries")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise wrong_type("Entries", "a list of objects")
    if not entries:
        raise SQSError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > MAX_ENTRIES:
        raise SQSError(
            "TooManyEntriesInBatchRequest",
            f"Maximum number of entries per request are 10. You have sent {len(entries)}.",
        )
    _check_ids(entries)
    return entries


def _check_ids(entries: list[Entry]) -> None:
    seen: set[str] = set()
    for entry in entries:
        entry_id = entry.get("Id")
        if not isinstance(entry_id, str) or not _ID.match(entry_id):
            raise SQSError(
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and "
                "underscores. It can be at most 80 letters long.",
            )
        if entry_id in seen:
            raise SQSError("BatchEntryIdsNotDistinct", f"Id {entry_id} repeated.")
        seen.add(entry_id)


def check_total_size(entries: list[Entry]) -> None:
    """Raise ``BatchRequestTooLong`` if bodies and attributes together exceed 1 MiB."""
    size = sum(map(raw_size_bytes, entries))
    if size > HARD_LIMIT_BYTES:
        raise SQSError(
            "BatchRequestTooLong",
            f"Batch requests cannot be longer than {HARD_LIMIT_BYTES} bytes. "
            f"You have sent {size} bytes.",
        )


def run(
    action: str, entries: list[Entry], apply: Callable[[Entry], dict[str, Any]], faults: Faults
) -> dict[str, Any]:
    """Apply each entry and return ``Successful`` and ``Failed``.

    An entry that breaks a rule, or that a fault hits, leaves its neighbours untouched.
    """
    successful: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry in entries:
        fault = faults.of_entry(action, entry)
        try:
            if fault is None or fault.applied:
                result = {"Id": entry["Id"], **apply(entry)}
                if fault is None:
                    successful.append(result)
        except SQSError as error:
            if fault is None:
                failed.append(_failure(entry, error))
        if fault is not None and fault.code is not None:
            text = "The double was told to fail this entry."
            failed.append(_failed(entry, fault.code, fault.sender_fault, text))
    return {"Successful": successful, "Failed": failed}


def _failure(entry: Entry, error: SQSError) -> dict[str, Any]:
    return _failed(entry, error.kind.code, error.kind.sender_fault, error.message)


def _failed(entry: Entry, code: str, sender_fault: bool, text: str) -> dict[str, Any]:
    return {"Id": entry["Id"], "Code": code, "SenderFault": sender_fault, "Message": text}
