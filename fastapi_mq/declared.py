"""What an application declares before it starts: producers and consumers, per queue.

Declarations are plain data; every lifespan builds its channels and participants from them
anew, so one application object can be started again and again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.params import Depends
from pydantic import BaseModel

from mqtransport.channel.calling import read_call, resolve_annotation
from mqtransport.errors import UsageError
from mqtransport.participants import Consumer, Participant, Producer, check_model
from mqtransport.policy import Retry
from mqtransport.wire import is_message_name

ParticipantSource = Callable[[], Any]


@dataclass
class ConsumedQueue:
    """A queue with consumers.

    Attributes:
        consumers: what makes each consumer, by message name.
        dead_letter: name of its dead letter queue.
        concurrency: handlers at a time; None leaves it to the settings.
        retry: its retry policy; None is the default one.
    """

    consumers: dict[str, ParticipantSource] = field(default_factory=dict)
    dead_letter: str | None = None
    concurrency: int | None = None
    retry: Retry | None = None

    def options(self) -> dict[str, Any]:
        """Return what was given, as arguments of ``create_consuming_channel``."""
        given = {
            "dead_letter": self.dead_letter,
            "concurrency": self.concurrency,
            "retry": self.retry,
        }
        return {name: value for name, value in given.items() if value is not None}

    def merge(self, queue: str, **options: Any) -> None:
        """Take the options of a further consumer.

        Raises:
            UsageError: one of them is impossible, or they contradict those of an earlier one: a
                queue has one channel.
        """
        given = {name: value for name, value in options.items() if value is not None}
        _check_options(queue, given)
        for name, value in given.items():
            present = getattr(self, name)
            if present not in (None, value):
                raise UsageError(
                    f"queue {queue!r}: {name} is {present!r} for one consumer and {value!r} for "
                    f"another; a queue has one channel, so give it once"
                )
        for name, value in given.items():
            setattr(self, name, value)


@dataclass
class Declarations:
    """All that an application declared.

    Attributes:
        producers: what makes each producer, by queue and message name.
        models: the model of each declared producer, by queue and message name.
        consumed: the queues with consumers.
    """

    producers: dict[str, dict[str, ParticipantSource]] = field(default_factory=dict)
    models: dict[tuple[str, str], type[BaseModel]] = field(default_factory=dict)
    consumed: dict[str, ConsumedQueue] = field(default_factory=dict)


def function_consumer(
    function: Callable[..., Any], queue: str, model: object, name: str | None
) -> tuple[str, ParticipantSource]:
    """Return the message name of a function, and what makes a Consumer of it.

    Args:
        function: takes the body first; see ``Consumer.consume`` for the rest.
        queue: for messages.
        model: the model of the body; None reads it from the first parameter's annotation.
        name: the message name; None is the model's class name.

    Raises:
        UsageError: the model cannot be found out, is none, or the function cannot be called.
    """
    label = f"consumer {getattr(function, '__qualname__', repr(function))} of queue {queue!r}"
    found = check_model(_model_of(function, label) if model is None else model, label)
    message_name = check_name(found.__name__ if name is None else name, label)
    _refuse_dependencies(function, label)
    read_call(function, found, label)  # its mistakes show here, where they are made

    class FunctionConsumer(Consumer[Any]):
        name = message_name
        Model = found
        consume = staticmethod(function)

    FunctionConsumer.__name__ = getattr(function, "__name__", "consumer")
    return message_name, FunctionConsumer


def model_producer(model: type[BaseModel], name: str) -> ParticipantSource:
    """Return what makes a Producer of a model."""
    message_name, found = name, model

    class ModelProducer(Producer[Any]):
        name = message_name
        Model = found

    ModelProducer.__name__ = f"{model.__name__}Producer"
    return ModelProducer


def check_name(name: str, label: str) -> str:
    """Return the message name if it is legal.

    Raises:
        UsageError: it is not, as the class name of a generic model.
    """
    if not is_message_name(name):
        raise UsageError(
            f"{label}: {name!r} is no legal message name; pass name= with 1 to 128 letters, "
            f"digits, dots, dashes or underscores"
        )
    return name


def check_class(kind: object, base: type[Participant[Any]]) -> None:
    """Check a participant class at the call that declares it.

    Raises:
        UsageError: it is no such class, or its declaration is wrong.
    """
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise UsageError(f"{kind!r} is no subclass of {base.__name__}; pass the class itself")
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not is_message_name(name):
        raise UsageError(f"{kind.__name__}: set name to a legal message name, not {name!r}")
    model = check_model(getattr(kind, "Model", None), kind.__name__)
    if issubclass(kind, Consumer):
        if getattr(kind, "__abstractmethods__", None):
            raise UsageError(f"{kind.__name__}: write async def consume(self, msg: Model)")
        # Bound to nothing: only its parameters behind self are read.
        read_call(kind.consume.__get__(object()), model, kind.__name__, dict(vars(kind)))


def _check_options(queue: str, given: dict[str, Any]) -> None:
    concurrency = given.get("concurrency", 1)
    if not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1:
        raise UsageError(
            f"queue {queue!r}: concurrency must be a whole number, 1 or more, not {concurrency!r}"
        )
    dead_letter = given.get("dead_letter")
    if dead_letter is not None and not isinstance(dead_letter, str):
        raise UsageError(
            f"queue {queue!r}: dead_letter must be the name of a queue, not {dead_letter!r}"
        )
    if dead_letter == queue:
        raise UsageError(f"queue {queue!r} cannot be its own dead letter queue; name another one")
    if not isinstance(retry := given.get("retry", Retry()), Retry):
        raise UsageError(f"queue {queue!r}: retry must be a Retry(...), not {retry!r}")


def _refuse_dependencies(function: Callable[..., Any], label: str) -> None:
    for parameter in inspect.signature(function).parameters.values():
        marks = getattr(parameter.annotation, "__metadata__", ())
        if any(isinstance(mark, Depends) for mark in (parameter.default, *marks)):
            raise UsageError(
                f"{label}: its parameter {parameter.name!r} asks for Depends(), which consumers "
                f"do not have yet; use mq_app.state, or a closure"
            )


def _model_of(function: Callable[..., Any], label: str) -> object:
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or parameters[0].annotation is inspect.Parameter.empty:
        raise UsageError(
            f"{label}: annotate its first parameter with the model of the message, or pass model="
        )
    annotation = resolve_annotation(parameters[0].annotation, function, {})
    if isinstance(annotation, str):
        raise UsageError(
            f"{label}: its annotation {annotation!r} cannot be resolved, because the name is "
            f"neither global nor in the function's closure; pass model="
        )
    return annotation
