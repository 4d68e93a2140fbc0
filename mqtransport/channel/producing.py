"""ProducingChannel: carries producers' messages into a queue, batched and confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mqtransport.channel.base import END_GRACE_S, Channel, QueueRef, Tools
from mqtransport.channel.calling import run_in_thread
from mqtransport.channel.many import outcomes, pack_all
from mqtransport.channel.options import SendOptions
from mqtransport.channel.outbox import Entry
from mqtransport.channel.outgoing import (
    PACK_INLINE_CHARS,
    Packer,
    export_record,
    import_record,
)
from mqtransport.channel.queue_limit import QueueLimit
from mqtransport.channel.sender import Sender
from mqtransport.clock import new_id
from mqtransport.errors import (
    ClosedError,
    NotStartedError,
    SendError,
    UsageError,
)
from mqtransport.limits import counted_bytes, is_fifo
from mqtransport.message import NO_EXTRAS, Outgoing, SendExtras, Sent
from mqtransport.participants import Producer, check_participant

if TYPE_CHECKING:
    from mqtransport.app import MQApp


class ProducingChannel(Channel):
    """Carries messages into one queue. Made by ``app.create_producing_channel(queue)``.

    A send returns when the broker has confirmed the message, or, with ``confirm=False``, when
    it is in the bounded buffer; then the channel keeps sending until the broker takes it.
    """

    kind = "producing"

    def __init__(self, app: MQApp, queue: QueueRef, tools: Tools, options: SendOptions) -> None:
        super().__init__(app, queue, tools)
        self._options = options
        fifo = is_fifo(queue.physical)
        self._packer = Packer(queue.name, queue.max_message_bytes, tools.clock, fifo)
        self._producers: dict[str, Producer[Any]] = {}
        self._sender = Sender(queue, tools, options, self.trouble, self._refit)
        self._limit = QueueLimit(queue, tools, self.trouble)

    @property
    def options(self) -> SendOptions:
        """How this channel sends."""
        return self._options

    @property
    def producers(self) -> list[Producer[Any]]:
        """The producers added so far."""
        return list(self._producers.values())

    def producer(self, name: str) -> Producer[Any] | None:
        """Return the producer of that message name, None if there is none."""
        return self._producers.get(name)

    @property
    def max_message_bytes(self) -> int:
        """The queue's size limit, as far as it is known."""
        return self._packer.max_bytes

    @property
    def unsent(self) -> int:
        """Messages that the broker has not confirmed; the buffered ones that it refused too."""
        return len(self._sender.outbox) + len(self._sender.refused)

    @property
    def sent(self) -> int:
        """Messages that the broker has confirmed."""
        return self._sender.confirmed

    @property
    def wedged(self) -> bool:
        """Always False: a send in trouble is the broker's state, which a restart cannot mend."""
        return False

    def add_producer(self, producer: Producer[Any]) -> None:
        """Let the producer send through this channel.

        Raises:
            UsageError: its declaration is wrong, its name is taken here, or it belongs to
                another channel.
        """
        self._refuse_if_closed()
        check_participant(producer, Producer, "add_producer")
        if producer.name in self._producers:
            raise UsageError(
                f"channel {self.name!r} has a producer named {producer.name!r} already; "
                f"use that one, or another name"
            )
        if producer._channel is not None and not producer._channel.app.closed:
            raise UsageError(f"producer {producer.name!r} belongs to another channel already")
        producer._channel = self
        self._producers[producer.name] = producer

    async def send_message(
        self,
        name: str,
        body: Mapping[str, Any],
        *,
        delay_s: float | None = None,
        group: str | None = None,
        dedup_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> Sent:
        """Send a message by name, without a producer object.

        The body is validated if a producer of that name was added here, else it is sent as it
        is. The other arguments, results and errors are those of ``Producer.send``.

        Args:
            name: the message name.
            body: the fields of a JSON object.
            delay_s: see ``Producer.send``.
            group: see ``Producer.send``.
            dedup_id: see ``Producer.send``.
            headers: see ``Producer.send``.
            message_id: see ``Producer.send``.
        """
        extras = SendExtras(delay_s, group, dedup_id, headers, message_id)
        message_id = message_id or self._new_id()
        producer = self._producers.get(name)
        if producer is not None:
            text = self._packer.text_of_fields(name, producer.Model, message_id, body)
        else:
            text = self._packer.text_of_body(name, body, message_id)
        return await self._submit(name, text, message_id, extras)

    def submit_fields(
        self, producer: Producer[Any], fields: Mapping[str, Any]
    ) -> Coroutine[Any, Any, Sent]:
        """Send a message given by its fields; ``Producer.produce`` is the way to call it.

        Like :meth:`submit_model` it is no coroutine function, but returns the coroutine of the
        sending itself: one between them would be one more to make and to pass through.
        """
        message_id = self._new_id()
        text = self._packer.text_of_fields(producer.name, producer.Model, message_id, fields)
        return self._submit(producer.name, text, message_id, NO_EXTRAS)

    def submit_model(
        self, producer: Producer[Any], message: BaseModel, extras: SendExtras = NO_EXTRAS
    ) -> Coroutine[Any, Any, Sent]:
        """Send a message given as a model; ``Producer.send`` is the way to call it."""
        message_id = extras.message_id or self._new_id()
        self._packer.check_model(producer, message, message_id)
        text = self._packer.text_of_model(producer.name, message, message_id)
        return self._submit(producer.name, text, message_id, extras)

    async def submit_many(
        self, producer: Producer[Any], messages: Sequence[BaseModel]
    ) -> list[Sent | SendError]:
        """Send several models; ``Producer.send_many`` is the way to call it."""
        self._refuse_other_loop()
        if not isinstance(messages, Sequence):
            raise UsageError(
                f"send_many takes a list of messages, not {type(messages).__name__}; one message "
                f"is sent with send()"
            )
        if self._options.confirm:
            self._sender.require_running()
        messages = list(messages)  # not every sequence can be sliced: a deque cannot
        results: list[Sent | SendError] = []
        # As many at a time as the buffer holds: more would only wait for room.
        step = self._options.max_buffered
        for start in range(0, len(messages), step):
            part = messages[start : start + step]
            results.extend(await self._send_part(producer, part))
        return results

    async def _send_part(
        self, producer: Producer[Any], part: Sequence[BaseModel]
    ) -> list[Sent | SendError]:
        at_once = self._options.confirm and not self._app.closed and self._failure is None
        packed = pack_all(self._packer, producer, part, self._new_id) if at_once else None
        if packed is not None:
            entries = [one for one in packed if isinstance(one, Entry)]
            if self._sender.start(entries, self._options.send_timeout_s):
                return await outcomes(packed, self._sender.withdraw)
        # Some have to wait, for room or for a thread: each in a task of its own.
        return await asyncio.gather(*(self._send_one(producer, message) for message in part))

    async def _send_one(self, producer: Producer[Any], message: BaseModel) -> Sent | SendError:
        try:
            return await self.submit_model(producer, message)
        except SendError as error:
            return error
        except (NotStartedError, ClosedError) as error:  # the app was stopped meanwhile
            stopped = self._never_sent(producer.name, self._new_id(), "the channel was stopped")
            stopped.__cause__ = error
            return stopped

    async def send_copy(self, name: str, message: Outgoing) -> None:
        """Send a packed message as it is, always confirmed: a dead letter copy.

        Raises:
            SendError: it was not confirmed; ``MessageRefusedError`` if it never will be.
            NotStartedError: the channel does not run.
        """
        entry = Entry(name, message, counted_bytes(message), as_is=True)
        await self._sender.send(entry, self._options.send_timeout_s)

    def export_unsent(self) -> list[dict[str, Any]]:
        """Return the buffered messages that the broker has not confirmed, as plain data.

        Reading changes nothing. Messages whose callers wait for a confirmation are left out:
        those callers learn the outcome themselves. Messages that the broker refused are in.
        """
        waiting = [entry for entry in self._sender.outbox if entry.waiter is None]
        return [export_record(entry) for entry in [*self._sender.refused, *waiting]]

    def read_unsent(self, records: Iterable[object]) -> list[Entry]:
        """Check exported messages, so that all or none of them are taken in.

        Raises:
            ImportMessageError: one of them is no exported message, or can never be sent.
        """
        return [
            import_record(self._packer, record, self._new_id(), index)
            for index, record in enumerate(records)
        ]

    def take_unsent(self, entries: Iterable[Entry]) -> None:
        """Put checked messages into the buffer, beyond its bounds if need be.

        Messages that are in the buffer already are left out, so importing twice is harmless.
        """
        self._sender.take_in(entries)

    async def flush_and_stop(self, timeout_s: float) -> int:
        """Send what is in the outbox, for at most ``timeout_s``; return how many are left.

        Callers who still wait then get their SendError; buffered messages stay for export.
        """
        self._stopping = True
        task = self._task
        if task is not None and not task.done():
            self._sender.drain()
            try:
                await asyncio.wait({task}, timeout=max(timeout_s, 0.0))
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task}, timeout=END_GRACE_S)
        self._sender.close()
        return self.unsent

    async def _submit(self, name: str, text: str, message_id: str, extras: SendExtras) -> Sent:
        self._refuse_if_closed()
        self._refuse_other_loop()
        timeout_s = self._options.send_timeout_s
        if len(text) <= PACK_INLINE_CHARS:
            entry = self._packer.pack(name, text, message_id, extras)
        else:
            started = self._tools.clock.monotonic()
            entry = await self._pack(name, text, message_id, extras)
            timeout_s -= self._tools.clock.monotonic() - started
            self._refuse_if_closed()  # that took a while
        if self._failure is not None:
            why = "the channel died; restart the app"
            raise self._never_sent(name, message_id, why) from self._failure
        if self._options.confirm:
            await self._sender.send(entry, timeout_s)
            return Sent(message_id, "confirmed")
        await self._sender.buffer(entry, timeout_s)
        return Sent(message_id, "buffered")

    async def _pack(self, name: str, text: str, message_id: str, extras: SendExtras) -> Entry:
        if len(text) <= PACK_INLINE_CHARS:
            return self._packer.pack(name, text, message_id, extras)
        try:
            async with asyncio.timeout(self._options.send_timeout_s):
                packed: Entry = await run_in_thread(
                    self._packer.pack, name, text, message_id, extras
                )
                return packed
        except TimeoutError:
            raise self._never_sent(name, message_id, "packing it took too long") from None

    async def _refit(self, entry: Entry) -> str | None:
        """Pack a refused message anew if the queue's size limit was lowered while we ran.

        Returns:
            None if it fits now; else why it does not, or "" if its size is not the reason.
        """
        if entry.size_bytes <= self._packer.max_bytes:
            await self._limit.ask()
            self._packer = replace(self._packer, max_bytes=self._limit.max_bytes)
        if entry.size_bytes <= self._packer.max_bytes or entry.as_is:
            return ""  # a dead letter copy is made anew when its message comes again
        message = entry.message
        record = export_record(entry)
        extras = SendExtras(
            message.delay_s, message.group, message.dedup_id, record.get("headers"), message.id
        )
        try:
            text = self._packer.text_of_body(entry.name, record["body"], message.id)
            packed = await self._pack(entry.name, text, message.id, extras)
        except SendError as error:
            return str(error)
        self._sender.outbox.repack(entry, packed.message, packed.size_bytes)
        return None

    def launch(self, on_failure: Callable[[Channel], None]) -> None:
        """Start sending; ``on_failure`` is called once if the main task ever dies."""
        self._sender.open()
        super().launch(on_failure)

    async def _run(self) -> None:
        await self._sender.run()

    def _ended(self, task: asyncio.Task[None]) -> None:
        super()._ended(task)
        if self.failure is not None:
            self._sender.close()

    def _never_sent(self, name: str, message_id: str, why: str) -> SendError:
        return SendError(
            f"message {name!r} to queue {self.name!r}: {why}",
            queue=self.name,
            message_id=message_id,
            outcome="not_sent",
        )

    def _new_id(self) -> str:
        return new_id(self._tools.random)
