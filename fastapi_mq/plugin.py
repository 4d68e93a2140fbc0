"""FastMQ: message queues in a FastAPI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from fastapi_mq.declared import (
    ConsumedQueue,
    Declarations,
    ParticipantSource,
    check_class,
    check_name,
    function_consumer,
    model_producer,
)
from fastapi_mq.dependencies import STATE_KEY, ProducerDependency, ProvidedProducer
from fastapi_mq.errors import install_errors
from fastapi_mq.health import HEALTH_KEY, HealthCheck, make_health_router
from fastapi_mq.start_warnings import warn_if_wrapped
from fastapi_mq.starting import Create, Starting
from mqtransport import Consumer, MQSettings, Producer, Retry
from mqtransport.errors import UsageError
from mqtransport.participants import check_model

logger = logging.getLogger("fastapi_mq")

M = TypeVar("M", bound=BaseModel)
Handler = TypeVar("Handler", bound=Callable[..., Any])
OWNER_KEY = "_fast_mq_owner"
"""The key under which ``app.state`` holds who runs the lifespan, and in which loop."""


class FastMQ:
    """Message queues in a FastAPI application.

    Three equal ways. ``FastMQ(app)`` does all. Or ``FastAPI(lifespan=mq.lifespan)``, or
    ``async with mq.lifespan(app) as state: yield {**state}`` innermost in a lifespan of your
    own; these two add ``app.include_router(mq.health_router())`` and ``mq.install_errors(app)``.

    Nothing is connected before the lifespan runs, and nothing is bound to an event loop; the
    same objects survive several lifespans.

    Args:
        app: the application to equip at once.
        settings: a settings object; None reads the environment at each start.
        create: makes the MQApp instead, for teams that have an initializer; it may create
            channels and add participants, and must not start the app.
        broker_critical: whether ``/health/mq/ready`` fails when the broker is unreachable.
        health_path: where ``FastMQ(app)`` puts the health endpoints.
        start_timeout_s: after which a start fails, more than 0.
    """

    def __init__(
        self,
        app: FastAPI | None = None,
        *,
        settings: MQSettings | None = None,
        create: Create | None = None,
        broker_critical: bool = False,
        health_path: str = "/health/mq",
        start_timeout_s: float = 10.0,
    ) -> None:
        if settings is not None and create is not None:
            raise UsageError("FastMQ: give settings or create, not both")
        if settings is not None and not isinstance(settings, MQSettings):
            # Not shown: what was meant for a settings object may hold a password.
            raise UsageError("FastMQ: settings must be an MQSettings(...) object")
        if start_timeout_s <= 0:
            raise UsageError(f"FastMQ: start_timeout_s must be more than 0, not {start_timeout_s}")
        if not health_path.startswith("/"):
            raise UsageError(f"FastMQ: health_path must begin with a slash, unlike {health_path!r}")
        self._settings = settings
        self._create = create
        self._broker_critical = broker_critical
        self._health_path = health_path
        self._start_timeout_s = start_timeout_s
        self._declared = Declarations()
        self._running = 0
        if app is not None:
            self.init_app(app)

    # -- declaring ---------------------------------------------------------------------------

    def producer(
        self, queue: str, model: type[M], *, name: str | None = None
    ) -> ProducerDependency[M]:
        """Declare a producer; the result is a dependency: ``Depends(mq.producer(...))``.

        Args:
            queue: the queue's name.
            model: the model of the body.
            name: the message name; the model's class name by default. It is wire: consumers
                know the message by it.

        Raises:
            UsageError: no model, an illegal name, the name taken by another model, or the
                application runs already.
        """
        _check_queue(queue)
        label = f"producer of queue {queue!r}"
        check_model(model, label)
        message_name = check_name(model.__name__ if name is None else name, label)
        known = self._declared.models.get((queue, message_name))
        if known is not None and known is not model:
            raise UsageError(
                f"queue {queue!r}: the message name {message_name!r} belongs to the model "
                f"{known.__module__}.{known.__qualname__} already; pass another name="
            )
        if known is None:
            self._declare_producer(queue, message_name, model_producer(model, message_name))
            self._declared.models[queue, message_name] = model
        return ProducerDependency(queue, model, message_name)

    def consumer(
        self,
        queue: str,
        *,
        name: str | None = None,
        model: type[BaseModel] | None = None,
        dead_letter: str | None = None,
        concurrency: int | None = None,
        retry: Retry | None = None,
    ) -> Callable[[Handler], Handler]:
        """Let the decorated function handle the messages of one name; returns it unchanged.

        Args:
            queue: the queue's name.
            name: the message name; the model's class name by default.
            model: the model of the body; read from the first parameter by default.
            dead_letter: name of the dead letter queue.
            concurrency: handlers at a time; 10 by default (``MQ_CONCURRENCY``).
            retry: the retry policy of the queue.

        Raises:
            UsageError: at decoration: the model cannot be found out, a parameter cannot be
                supplied, the name is taken, or the options contradict another consumer's.
        """

        _check_queue(queue)

        def decorate(function: Handler) -> Handler:
            message_name, source = function_consumer(function, queue, model, name)
            self._declare_consumer(queue, message_name, source, dead_letter, concurrency, retry)
            return function

        return decorate

    def add_producer(self, queue: str, kind: type[Producer[Any]]) -> None:
        """Declare a producer class; inject it with ``Depends(mq.provide(MP_Order))``.

        Raises:
            UsageError: no producer class, its declaration is wrong, or its name is taken.
        """
        _check_queue(queue)
        check_class(kind, Producer)
        if kind.name in self._declared.producers.get(queue, {}):
            raise UsageError(f"queue {queue!r} has a producer named {kind.name!r} already")
        self._declare_producer(queue, kind.name, kind)
        self._declared.models[queue, kind.name] = kind.Model

    def add_consumer(
        self,
        queue: str,
        kind: type[Consumer[Any]],
        *,
        dead_letter: str | None = None,
        concurrency: int | None = None,
        retry: Retry | None = None,
    ) -> None:
        """Declare a consumer class; the options are those of :meth:`consumer`.

        Raises:
            UsageError: no consumer class, its declaration is wrong, or its name is taken.
        """
        _check_queue(queue)
        check_class(kind, Consumer)
        self._declare_consumer(queue, kind.name, kind, dead_letter, concurrency, retry)

    def provide(self, kind: type[Producer[Any]], *, queue: str | None = None) -> ProvidedProducer:
        """Return a dependency that hands out the producer of this class.

        Args:
            kind: the class.
            queue: the queue, if the class produces for several.
        """
        check_class(kind, Producer)
        return ProvidedProducer(kind, queue)

    # -- hosting -----------------------------------------------------------------------------

    def init_app(self, app: FastAPI) -> FastMQ:
        """Equip the application: lifespan, health endpoints, 503 mapping. Once per app.

        Call it after the last ``include_router`` of a router that has a lifespan of its own.

        Returns:
            This object, so that ``mq = FastMQ().init_app(app)`` reads well.

        Raises:
            UsageError: it is no FastAPI application, or another FastMQ equips it already.
        """
        if not isinstance(app, FastAPI):
            raise UsageError(f"FastMQ: pass the FastAPI application, not {app!r}")
        present: object = getattr(app.state, "_fast_mq", None)
        if present is self:
            return self
        if present is not None:
            raise UsageError("another FastMQ equips this application already; use that one")
        if app.middleware_stack is not None:
            raise UsageError("the application runs already; call FastMQ(app) where it is made")
        app.state._fast_mq = self
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(running: FastAPI) -> AsyncIterator[dict[str, Any]]:
            warn_if_wrapped(running, lifespan)
            async with inner(running) as state, self.lifespan(running) as ours:
                yield {**(state or {}), **ours}

        app.router.lifespan_context = lifespan
        app.include_router(self.health_router(self._health_path))
        self.install_errors(app)
        return self

    def lifespan(self, app: FastAPI) -> AbstractAsyncContextManager[dict[str, Any]]:
        """Run the MQApp for as long as the context is open; yields the lifespan state."""
        return self._lifespan(app)

    def health_router(self, path: str = "/health/mq") -> APIRouter:
        """Return a router with the health endpoints ``path``, ``path/live``, ``path/ready``."""
        return make_health_router(path)

    def install_errors(self, app: FastAPI) -> None:
        """Map broker errors that leave a route to 503; call it before the app starts."""
        install_errors(app)

    # -- inside ------------------------------------------------------------------------------

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        owner = (self, asyncio.get_running_loop())
        present = getattr(app.state, OWNER_KEY, None)
        if present == owner:
            # Two ways at once, as lifespan= and init_app: the outer one is at work already.
            yield {key: getattr(app.state, key) for key in (STATE_KEY, HEALTH_KEY)}
            return
        if present is not None:
            raise UsageError(
                "this application object is running already, with another FastMQ or in another "
                "event loop; use one FastMQ, and one lifespan at a time"
            )
        self._running += 1
        setattr(app.state, OWNER_KEY, owner)
        try:
            starting = Starting(self._declared, self._settings, self._create, self._start_timeout_s)
            async with starting.app() as mq_app:
                check = HealthCheck(mq_app, broker_critical=self._broker_critical)
                setattr(app.state, STATE_KEY, mq_app)
                setattr(app.state, HEALTH_KEY, check)
                try:
                    yield {STATE_KEY: mq_app, HEALTH_KEY: check}
                finally:
                    delattr(app.state, STATE_KEY)
                    delattr(app.state, HEALTH_KEY)
                    await check.aclose()
        finally:
            delattr(app.state, OWNER_KEY)
            self._running -= 1

    def _declare_producer(self, queue: str, name: str, source: ParticipantSource) -> None:
        self._refuse_if_running()
        self._declared.producers.setdefault(queue, {})[name] = source

    def _declare_consumer(
        self,
        queue: str,
        name: str,
        source: ParticipantSource,
        dead_letter: str | None,
        concurrency: int | None,
        retry: Retry | None,
    ) -> None:
        self._refuse_if_running()
        consumed = self._declared.consumed.get(queue, ConsumedQueue())
        if name in consumed.consumers:
            raise UsageError(
                f"queue {queue!r} has a consumer for messages named {name!r} already; one "
                f"consumer handles one kind of message: give other ones a name= of their own, or "
                f"do all of it in one handler"
            )
        consumed.merge(queue, dead_letter=dead_letter, concurrency=concurrency, retry=retry)
        consumed.consumers[name] = source
        self._declared.consumed[queue] = consumed

    def _refuse_if_running(self) -> None:
        if self._running:
            raise UsageError("declare producers and consumers before the application starts")


def _check_queue(queue: object) -> None:
    if not isinstance(queue, str):
        raise UsageError(
            f'the first argument is the queue\'s name, as in @mq.consumer("orders"), not {queue!r}'
        )
