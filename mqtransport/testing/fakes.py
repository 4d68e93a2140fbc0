"""A producer that records what it is given instead of sending it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from mqtransport.channel.outgoing import Packer
from mqtransport.clock import SystemClock, new_id, new_random
from mqtransport.errors import SendError
from mqtransport.limits import MAX_MESSAGE_BYTES
from mqtransport.message import NO_EXTRAS, SendExtras, Sent
from mqtransport.participants import M, Producer


@dataclass(frozen=True, slots=True)
class Recorded(Generic[M]):
    """One message given to a :class:`FakeProducer`.

    Attributes:
        id: the message id it was given.
        message: the body.
        extras: what was said about it: delay, group, headers and so on.
    """

    id: str
    message: M
    extras: SendExtras


class FakeProducer(Producer[M]):
    """Stands in for a producer in tests: validates and refuses like the real one, sends nothing.

    Args:
        model: the model of the body.
        name: the message name; the model's class name by default.

    Attributes:
        recorded: every message, in order.
        error: if set, every send raises it: for testing what a route does in an outage.
    """

    def __init__(self, model: type[M], name: str | None = None) -> None:
        self.name = name or model.__name__
        self.Model = model  # type: ignore[misc]  # per object here, where subclasses set it
        self.check()
        self.recorded: list[Recorded[M]] = []
        self.error: SendError | None = None
        self._packer = Packer("fake", MAX_MESSAGE_BYTES, SystemClock())
        self._random = new_random()

    def __call__(self) -> FakeProducer[M]:
        """Return itself, so that it can stand in ``app.dependency_overrides`` as it is."""
        return self

    @property
    def sent(self) -> list[M]:
        """The bodies recorded so far, in order."""
        return [one.message for one in self.recorded]

    async def produce(self, **fields: Any) -> Sent:
        """Record a message given by its fields."""
        message_id = new_id(self._random)
        text = self._packer.text_of_fields(self.name, self.Model, message_id, fields)
        return self._record(self._parse(text), text, message_id, NO_EXTRAS)

    async def send(
        self,
        message: M,
        *,
        delay_s: float | None = None,
        group: str | None = None,
        dedup_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
    ) -> Sent:
        """Record a message given as a model."""
        extras = SendExtras(delay_s, group, dedup_id, headers, message_id)
        message_id = message_id or new_id(self._random)
        self._packer.check_model(self, message, message_id)
        text = self._packer.text_of_model(self.name, message, message_id)
        return self._record(message, text, message_id, extras)

    async def send_many(self, messages: Sequence[M]) -> list[Sent | SendError]:
        """Record several messages."""
        results: list[Sent | SendError] = []
        for message in messages:
            try:
                results.append(await self.send(message))
            except SendError as error:
                results.append(error)
        return results

    def _parse(self, text: str) -> M:
        parsed: M = self.Model.model_validate_json(text)  # type: ignore[assignment]
        return parsed

    def _record(self, message: M, text: str, message_id: str, extras: SendExtras) -> Sent:
        self._packer.pack(self.name, text, message_id, extras)  # refuses what SQS would refuse
        if self.error is not None:
            raise self.error
        self.recorded.append(Recorded(message_id, message, extras))
        return Sent(message_id, "confirmed")
