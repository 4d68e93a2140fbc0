"""Producer and Consumer: what an application declares, one class per kind of message."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Generic, get_args, get_origin

from pydantic import BaseModel, RootModel
from typing_extensions import TypeVar  # PEP 696 defaults: the bare form stays clean under strict

from mqtransport.errors import NotStartedError, SendError, UsageError
from mqtransport.message import NO_EXTRAS, SendExtras, Sent
from mqtransport.wire import is_message_name

if TYPE_CHECKING:
    from mqtransport.channel import ConsumingChannel, ProducingChannel

M = TypeVar("M", bound=BaseModel, default=BaseModel)


class Participant(Generic[M]):
    """What producers and consumers share: a message name and a model of the body.

    Attributes:
        name: the message name; 1 to 128 letters, digits, dots, dashes, underscores.
        Model: the pydantic model of the body: a nested class, or the type argument of
            ``Producer[Order]`` / ``Consumer[Order]``.
    """

    name: str
    Model: ClassVar[type[BaseModel]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Model" not in cls.__dict__ and (model := _model_argument(cls)) is not None:
            cls.Model = model

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger of this participant: ``mqtransport.<class name>``."""
        return logging.getLogger(f"mqtransport.{type(self).__name__}")

    @property
    def _logger(self) -> logging.Logger:
        # The name under which existing services know the logger.
        return self.logger

    def check(self) -> None:
        """Check the declaration; channels call it when the participant is added.

        Raises:
            UsageError: the name is missing or illegal, or ``Model`` is missing or no model.
        """
        label = type(self).__name__
        name = getattr(self, "name", None)
        if not isinstance(name, str) or not is_message_name(name):
            raise UsageError(
                f"{label}: name is {name!r}; set it to 1 to 128 letters, digits, dots, dashes "
                f'or underscores, for example name = "orders.placed"'
            )
        check_model(getattr(self, "Model", None), label)


def check_participant(found: object, kind: type[Participant[Any]], method: str) -> None:
    """Check what a channel's ``add_producer`` or ``add_consumer`` was given.

    Args:
        found: what was given.
        kind: Producer or Consumer.
        method: the name of the method.

    Raises:
        UsageError: it is no instance of the kind, or its declaration is wrong.
    """
    if isinstance(found, type) and issubclass(found, kind):
        name = found.__name__
        raise UsageError(f"{method} takes an object, not the class {name}; write {name}()")
    if isinstance(found, Participant) and not isinstance(found, kind):
        raise UsageError(
            f"{method} takes a {kind.__name__}, and {type(found).__name__} is none; producers "
            f"belong to producing channels, consumers to consuming ones"
        )
    if not isinstance(found, kind):
        raise UsageError(f"{method} takes a {kind.__name__}, not {type(found).__name__}")
    found.check()


def check_model(model: object, label: str) -> type[BaseModel]:
    """Return the model if it is a pydantic model class.

    Raises:
        UsageError: it is anything else.
    """
    if isinstance(model, type) and issubclass(model, RootModel):
        raise UsageError(
            f"{label}: {model.__name__} is a RootModel, but a body is a JSON object; wrap the "
            f"value in a field of a BaseModel"
        )
    if isinstance(model, type) and issubclass(model, BaseModel):
        return model
    raise UsageError(
        f"{label}: the model must be a subclass of pydantic.BaseModel, not {model!r}; write "
        f"class Model(BaseModel) with the fields of the message"
    )


def _model_argument(cls: type) -> type[BaseModel] | None:
    for base in getattr(cls, "__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Participant):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, BaseModel):
                    return argument
    return None


class Producer(Participant[M]):
    """Sends messages of one kind.

    Declare a subclass with ``name`` and ``Model``, add an instance to a producing channel::

        class MP_Order(Producer):
            name = "orders.placed"
            class Model(BaseModel):
                id: int

        channel.add_producer(producer := MP_Order())
        await producer.produce(id=7)
    """

    _channel: ProducingChannel | None = None

    @property
    def channel(self) -> ProducingChannel:
        """The channel this producer was added to.

        Raises:
            NotStartedError: it was added to none.
        """
        if self._channel is None:
            raise NotStartedError(
                f"{type(self).__name__} belongs to no channel; call channel.add_producer() first"
            )
        return self._channel

    async def produce(self, **fields: Any) -> Sent:
        """Send a message given by its fields; they are always validated.

        Args:
            fields: the fields of ``Model``, by name or alias.

        Returns:
            The message id, and whether it is confirmed or buffered.

        Raises:
            MessageRefusedError: the fields do not fit the model, or the message can never be
                sent; nothing was sent.
            SendError: the broker did not confirm it in time; see ``outcome``.
            NotStartedError: the producer has no channel, or the channel does not run.
            UsageError: the app runs in another event loop.
        """
        return await self.channel.submit_fields(self, fields)

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
        """Send a message given as an instance of ``Model``.

        Args:
            message: the body; another model is refused.
            delay_s: seconds for which the broker hides it; 0 to the broker's limit (SQS: 900).
                Never clipped. None is the queue's own delay.
            group: ordering group on ``*.fifo`` queues; elsewhere a fairness hint.
            dedup_id: deduplication id on ``*.fifo`` queues.
            headers: short texts that travel with the message and reach ``Delivery.headers``.
            message_id: the id of an earlier try whose outcome is unknown; None makes a new one.

        Returns:
            The message id, and whether it is confirmed or buffered.

        Raises:
            MessageRefusedError: a foreign model, too large, illegal; nothing was sent.
            SendError: the broker did not confirm it in time; see ``outcome``.
            NotStartedError: the producer has no channel, or the channel does not run.
            UsageError: the app runs in another event loop.
        """
        extras = NO_EXTRAS  # nearly every message has none, and making one takes 0.5 us
        plain = delay_s is None and group is None and dedup_id is None and headers is None
        if not plain or message_id is not None:
            extras = SendExtras(delay_s, group, dedup_id, headers, message_id)
        return await self.channel.submit_model(self, message, extras)

    async def send_many(self, messages: Sequence[M]) -> list[Sent | SendError]:
        """Send several messages; one that fails leaves the others alone.

        Returns:
            Per message, in order, what :meth:`send` would have returned or raised.

        Raises:
            UsageError: it is no list or other sequence, or the app runs in another event loop.
            NotStartedError: the producer has no channel, or the channel does not run.
        """
        return await self.channel.submit_many(self, messages)


class Consumer(Participant[M], ABC):
    """Handles messages of one kind.

    Declare a subclass with ``name``, ``Model`` and ``consume``, add an instance to a
    consuming channel. A message may be delivered more than once; see ``Delivery.id``.
    """

    _channel: ConsumingChannel | None = None

    @property
    def channel(self) -> ConsumingChannel:
        """The channel this consumer was added to.

        Raises:
            NotStartedError: it was added to none.
        """
        if self._channel is None:
            raise NotStartedError(
                f"{type(self).__name__} belongs to no channel; call channel.add_consumer() first"
            )
        return self._channel

    @abstractmethod
    def consume(self, *args: Any, **kwargs: Any) -> Any:
        """Handle one message; when it returns, the message is done and deleted.

        Write it as ``async def consume(self, msg: Model, mq_app: MQApp)``. The first argument
        is always the body; the second, unless annotated otherwise, the MQApp; an argument
        annotated ``Delivery`` gets the delivery. A plain ``def`` runs in a thread; to send
        there, it hands the send to the app's event loop.

        Whatever it raises is a failure and follows the channel's retry policy;
        ConsumeMessageError rejects the message for good, RetryMessage asks for a delay.
        """
