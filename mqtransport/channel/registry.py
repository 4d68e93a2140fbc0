"""The channels of an app: opens queues, keeps one channel per queue and direction."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mqtransport.broker import QueueOptions
from mqtransport.channel import checking
from mqtransport.channel.base import Channel, QueueRef, Tools
from mqtransport.channel.consuming import ConsumingChannel
from mqtransport.channel.dead_letters import refuse_mixed_kinds
from mqtransport.channel.options import ReceiveOptions, SendOptions
from mqtransport.channel.producing import ProducingChannel
from mqtransport.errors import (
    ConfigurationError,
    ImportMessageError,
    QueueNotFoundError,
    UsageError,
)
from mqtransport.findings import RECEIVE_HEADROOM, Finding
from mqtransport.limits import MAX_RETENTION_S, is_fifo, queue_key, queue_variable

if TYPE_CHECKING:
    from mqtransport.app import MQApp
    from mqtransport.settings import MQSettings

logger = logging.getLogger("mqtransport.app")

_Options = TypeVar("_Options", SendOptions, ReceiveOptions)


class Registry:
    """Opens and keeps the channels of one app.

    Attributes:
        consuming: the consuming channels by queue name.
        producing: the producing channels by queue name.
    """

    def __init__(self, app: MQApp, tools: Tools, settings: MQSettings) -> None:
        self._app = app
        self._tools = tools
        self._settings = settings
        self.consuming: dict[str, ConsumingChannel] = {}
        self.producing: dict[str, ProducingChannel] = {}
        self._told: dict[str, checking.Told] = {}

    @property
    def all(self) -> list[Channel]:
        """All channels."""
        return [*self.consuming.values(), *self.producing.values()]

    async def open_consuming(
        self, queue: str, dead_letter: str | None, options: Mapping[str, Any]
    ) -> ConsumingChannel:
        """Open a queue for receiving; see ``MQApp.create_consuming_channel``."""
        _check_name("queue", queue)
        self._refuse_duplicate(queue, self.consuming, "consuming")
        chosen = _with_options(self._settings.receive_options(), options)
        target = None
        if dead_letter is not None:
            _check_name("dead_letter", dead_letter)
            physical = self._settings.physical_queue
            refuse_mixed_kinds(queue, physical(queue), dead_letter, physical(dead_letter))
            target = self.producing.get(dead_letter)
            if target is None:
                target = await self.open_producing(dead_letter, {}, keep_long=True)
        ref = await self._open(queue, _queue_options(chosen, target))
        self._refuse_duplicate(queue, self.consuming, "consuming")  # made while we waited
        channel = ConsumingChannel(self._app, ref, self._tools, chosen)
        if target is not None:
            channel.use_dead_letter_queue(target)
        self.consuming[queue] = channel
        return channel

    async def open_producing(
        self, queue: str, options: Mapping[str, Any], *, keep_long: bool = False
    ) -> ProducingChannel:
        """Open a queue for sending; see ``MQApp.create_producing_channel``.

        Args:
            queue: its name.
            options: fields of :class:`SendOptions`.
            keep_long: if the queue is created now, let it keep messages as long as SQS can: a
                message that SQS itself dead-letters keeps its age (AWS, "Using dead-letter
                queues").
        """
        _check_name("queue", queue)
        self._refuse_duplicate(queue, self.producing, "producing")
        chosen = _with_options(self._settings.send_options(), options)
        ref = await self._open(
            queue, QueueOptions(retention_s=MAX_RETENTION_S if keep_long else None)
        )
        self._refuse_duplicate(queue, self.producing, "producing")
        channel = ProducingChannel(self._app, ref, self._tools, chosen)
        self.producing[queue] = channel
        return channel

    def warn_of_misspelt_settings(self) -> None:
        """Warn of ``MQ_QUEUE_<NAME>`` settings that look like a queue of this app, but are none."""
        used = {queue_key(name) for name in (*self.consuming, *self.producing)}
        for key in sorted(set(self._settings.queues) - used):
            if close := difflib.get_close_matches(key, used - set(self._settings.queues), n=1):
                logger.warning(
                    "MQ_QUEUE_%s names no queue of this app; did you mean MQ_QUEUE_%s?",
                    key.upper(),
                    close[0].upper(),
                )

    def log_findings(self) -> None:
        """Log what does not fit, by what was told when the channels were opened; no request."""
        consuming, producing = list(self.consuming.values()), list(self.producing.values())
        capabilities = self._tools.broker.capabilities
        checking.log(checking.compare(consuming, producing, self._told, capabilities), logger)

    async def check(self) -> list[Finding]:
        """Look at every queue again, and compare; see ``MQApp.check``."""
        # Copies: a channel may be created while we wait.
        consuming, producing = list(self.consuming.values()), list(self.producing.values())
        broker = self._tools.broker
        told = await checking.look(broker, consuming, producing)
        return checking.compare(consuming, producing, told, broker.capabilities)

    def export_unsent(self) -> dict[str, list[dict[str, Any]]]:
        """Return the unsent messages by queue name; queues without any are left out."""
        exported = {name: channel.export_unsent() for name, channel in self.producing.items()}
        return {name: records for name, records in exported.items() if records}

    def import_unsent(self, unsent: Mapping[str, Iterable[object]]) -> None:
        """Take exported messages in, all or none; see ``MQApp.import_unsent_messages``."""
        if unknown := sorted(set(unsent) - set(self.producing)):
            raise ImportMessageError(
                f"there is no producing channel for {', '.join(map(repr, unknown))}; create it "
                f"before the import"
            )
        if broken := sorted(name for name, one in unsent.items() if not _is_list(one)):
            raise ImportMessageError(
                f"the unsent messages of {', '.join(map(repr, broken))} must be a list"
            )
        read = {name: self.producing[name].read_unsent(records) for name, records in unsent.items()}
        for name, entries in read.items():
            self.producing[name].take_unsent(entries)

    async def _open(self, queue: str, wanted: QueueOptions) -> QueueRef:
        physical = self._settings.physical_queue(queue)
        broker = self._tools.broker
        limits = broker.capabilities
        if is_fifo(physical) and not limits.ordered:
            raise ConfigurationError(
                f"queue {queue!r} is an ordered (.fifo) queue, which the broker "
                f"{limits.name!r} of this version does not support; use a standard queue"
            )
        if self._settings.create_queues or limits.creates_queues:
            await broker.declare(physical, wanted)
        try:
            info = await broker.describe(physical)
        except QueueNotFoundError as missing:
            raise QueueNotFoundError(
                f"{missing} (in code it is {queue!r}; its setting is {queue_variable(queue)})",
                queue=physical,
            ) from None  # the SDK's own words add nothing but lines
        self._told[physical] = info
        size_bytes = info.max_message_bytes or limits.max_message_bytes
        return QueueRef(queue, physical, min(size_bytes, limits.max_message_bytes))

    def _refuse_duplicate(self, queue: str, channels: Mapping[str, Channel], kind: str) -> None:
        physical = self._settings.physical_queue(queue)
        if queue in channels or any(one.queue.physical == physical for one in channels.values()):
            raise UsageError(
                f"queue {queue!r} has a {kind} channel already; an app has at most one per queue"
            )


def _check_name(label: str, name: object) -> None:
    if not isinstance(name, str):
        raise UsageError(f"{label} must be the name of a queue, not {type(name).__name__}")


def _is_list(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _with_options(defaults: _Options, options: Mapping[str, Any]) -> _Options:
    known = {one.name for one in fields(defaults)}
    if unknown := sorted(set(options) - known):
        raise UsageError(
            f"unknown option {', '.join(unknown)}; a channel takes {', '.join(sorted(known))}"
        )
    return replace(defaults, **options)


def _queue_options(receiving: ReceiveOptions, target: ProducingChannel | None) -> QueueOptions:
    return QueueOptions(
        lease_s=receiving.lease_s,
        dead_letter_queue=target.queue.physical if target is not None else None,
        max_receive_count=receiving.delivery_limit + RECEIVE_HEADROOM,
    )
