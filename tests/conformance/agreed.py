"""Raw requests on which SQS's double and an emulator have to agree, as AWS documents them.

Each row plays requests with the SDK's own client on a queue of its own, and returns what came of
it. It names the emulators that are right about it; those left out are known to be wrong.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from .emulator_faults import EMULATORS, Emulator

Play = Callable[[Any, str], Awaitable[Any]]


@dataclass(frozen=True)
class Row:
    """One behaviour.

    Attributes:
        play: takes the client and the URL of a new queue; returns what came of it.
        emulators: those that are right about it.
        attributes: of the queue.
        expected: what AWS documents.
    """

    play: Play
    emulators: tuple[Emulator, ...]
    attributes: Mapping[str, str]
    expected: Any

    def __str__(self) -> str:
        return self.play.__name__


ROWS: list[Row] = []


def row(
    *emulators: Emulator, expected: Any, attributes: Mapping[str, str] | None = None
) -> Callable[[Play], Play]:
    """Add a row; without names all emulators are right about it."""

    def add(play: Play) -> Play:
        ROWS.append(Row(play, emulators or EMULATORS, attributes or {}, expected))
        return play

    return add


async def refused(call: Awaitable[Any]) -> str:
    """Return the code of the error that a call raises, by its last part, or ``done``."""
    try:
        await call
    except ClientError as error:
        return said(error)
    return "done"


def said(error: ClientError) -> str:
    """Return an error's code without the prefix that some have, and a status that is not 4xx."""
    code = str(error.response["Error"]["Code"]).rpartition(".")[2]
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return code if 400 <= status < 500 else f"{code} with status {status}"


async def take(sqs: Any, url: str, wait_s: int = 1, **more: Any) -> Any:
    """Receive one message, or None."""
    got = await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=wait_s, **more)
    return got.get("Messages", [None])[0]


def entries(*bodies: str, **more: Any) -> list[dict[str, Any]]:
    """Entries of a batch, with ids from 0."""
    return [{"Id": str(n), "MessageBody": body, **more} for n, body in enumerate(bodies)]


async def outcome(call: Awaitable[Any]) -> Any:
    """Return the ids of a batch's done and failed entries, or the code of its error."""
    try:
        answer = await call
    except ClientError as error:
        return said(error)
    done = sorted(entry["Id"] for entry in answer.get("Successful", []))
    failed = sorted((e["Id"], e["SenderFault"]) for e in answer.get("Failed", []))
    return done, failed
