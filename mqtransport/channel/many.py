"""Several messages that one caller sends together, without a task for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel

from mqtransport.channel.outbox import Entry
from mqtransport.channel.outgoing import PACK_INLINE_CHARS, Packer
from mqtransport.errors import SendError
from mqtransport.message import NO_EXTRAS, Sent
from mqtransport.participants import Producer


def pack_all(
    packer: Packer,
    producer: Producer[Any],
    messages: Sequence[BaseModel],
    new_id: Callable[[], str],
) -> list[Entry | SendError] | None:
    """Return each message packed, or its refusal; None if one is to be packed in a thread."""
    packed: list[Entry | SendError] = []
    for message in messages:
        message_id = new_id()
        try:
            packer.check_model(producer, message, message_id)
            text = packer.text_of_model(producer.name, message, message_id)
            if len(text) > PACK_INLINE_CHARS:
                return None
            packed.append(packer.pack(producer.name, text, message_id, NO_EXTRAS))
        except SendError as error:
            packed.append(error)
    return packed


async def outcomes(
    packed: Sequence[Entry | SendError], withdraw: Callable[[Entry], None]
) -> list[Sent | SendError]:
    """Wait for what was started, and return what became of each.

    Args:
        packed: messages whose waiters will be told, and errors, which are passed on.
        withdraw: called with each at the end, whatever that is; it ignores what has landed.
    """
    try:
        return [await _outcome(one) for one in packed]
    finally:
        for one in packed:
            if isinstance(one, Entry):
                withdraw(one)


async def _outcome(one: Entry | SendError) -> Sent | SendError:
    if isinstance(one, SendError):
        return one
    try:
        if one.waiter is not None:
            await one.waiter
    except SendError as error:
        return error
    return Sent(one.message.id, "confirmed")
