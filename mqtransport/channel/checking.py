"""Checking: the queues of an app, as its operator made them, against its channels.

What is compared and what is said of it is pure, in :mod:`mqtransport.findings`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping

from mqtransport import findings
from mqtransport.broker import Broker, Capabilities, QueueInfo
from mqtransport.channel.base import Channel
from mqtransport.channel.consuming import ConsumingChannel
from mqtransport.channel.producing import ProducingChannel
from mqtransport.errors import AccessDeniedError, MQTransportError, QueueNotFoundError
from mqtransport.findings import Described, Finding

Told = QueueInfo | QueueNotFoundError
"""What the broker says when asked about a queue; all None where it may not tell us."""

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}


def log(found: Iterable[Finding], logger: logging.Logger) -> None:
    """Log each finding at the level of its severity."""
    for finding in found:
        logger.log(_LEVELS[finding.severity], "%s", finding)


async def look(
    broker: Broker, consuming: Collection[ConsumingChannel], producing: Collection[ProducingChannel]
) -> dict[str, Told]:
    """Ask the broker about each queue once, then about redrive targets that are none of them.

    Returns:
        What was told, by physical name.

    Raises:
        BrokerError: the broker cannot be reached, or did not answer in time.
    """
    channels = (*consuming, *producing)
    told = await _ask(broker, dict.fromkeys(channel.queue.physical for channel in channels))
    queues = _described(channels, told)
    beyond: dict[str, None] = {}
    for channel in consuming:
        target = queues[channel.queue.physical].info.dead_letter_queue
        if target is not None and _named(queues, target) is None:
            beyond[_beside(channel.queue.physical, target)] = None
    return told | await _ask(broker, beyond)


def compare(
    consuming: Collection[ConsumingChannel],
    producing: Collection[ProducingChannel],
    told: Mapping[str, Told],
    capabilities: Capabilities,
) -> list[Finding]:
    """Return what does not fit, errors first.

    Args:
        consuming: the consuming channels.
        producing: the producing channels.
        told: what the broker said of their queues, and of others, by physical name.
        capabilities: those of the broker.
    """
    queues = _described((*consuming, *producing), told)
    redrives = {
        channel: _named(queues, queues[channel.queue.physical].info.dead_letter_queue)
        for channel in consuming
    }
    dead_letters = {
        channel: queues.get(target.queue.physical)  # None: opened since we looked
        for channel in consuming
        if (target := channel.dead_letter_queue) is not None
    }
    ends = {queue.physical for queue in (*redrives.values(), *dead_letters.values()) if queue}
    found: list[Finding] = []
    for physical in dict.fromkeys(one.queue.physical for one in (*consuming, *producing)):
        found += findings.about_queue(queues[physical])
    for channel in consuming:
        found += findings.about_receiving(
            queues[channel.queue.physical],
            channel.options,
            dead_letters=dead_letters.get(channel),
            redrive=redrives[channel],
            is_dead_letter_queue=channel.queue.physical in ends,
            max_lease_s=capabilities.max_lease_s,
        )
    for sending in producing:
        if sending.queue.physical not in ends:  # what matters of those is said of their sources
            found += findings.about_sending(
                queues[sending.queue.physical], max_message_bytes=capabilities.max_message_bytes
            )
    return findings.by_severity(found)


async def _ask(broker: Broker, queues: Collection[str]) -> dict[str, Told]:
    answers = await asyncio.gather(*(_answer(broker, queue) for queue in queues))
    told: dict[str, Told] = {}
    for queue, answer in zip(queues, answers, strict=True):
        if isinstance(answer, MQTransportError) and not isinstance(answer, QueueNotFoundError):
            raise answer
        told[queue] = answer
    return told


async def _answer(broker: Broker, queue: str) -> QueueInfo | MQTransportError:
    """Return errors instead of raising them, so that no call is left behind by a failed one."""
    try:
        return await broker.describe(queue)
    except AccessDeniedError:
        return QueueInfo()
    except MQTransportError as error:
        return error


def _described(channels: Iterable[Channel], told: Mapping[str, Told]) -> dict[str, Described]:
    names = {channel.queue.physical: channel.name for channel in channels}
    queues: dict[str, Described] = {}
    for physical, answer in told.items():
        name = names.get(physical, physical.rpartition("/")[2])
        if isinstance(answer, QueueInfo):
            queues[physical] = Described(name, physical, answer)
        else:
            queues[physical] = Described(name, physical, missing=str(answer))
    return queues


def _named(queues: Mapping[str, Described], name: str | None) -> Described | None:
    """Return the queue that a redrive policy calls by this name, if we know of it."""
    return next((queue for queue in queues.values() if queue.is_named(name)), None)


def _beside(physical: str, name: str) -> str:
    """Return the physical name of a dead letter queue; it lies where its source does."""
    return f"{physical.rpartition('/')[0]}/{name}" if "://" in physical else name
