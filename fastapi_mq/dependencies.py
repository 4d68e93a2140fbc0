"""What routes depend on: producers and the app, found through the connection's state.

No postponed annotations here: FastAPI reads the signatures of these objects, and a callable
object has no globals in which it could look names up.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic

from fastapi import Depends
from starlette.requests import HTTPConnection

from mqtransport import MQApp
from mqtransport.errors import NotStartedError, UsageError
from mqtransport.participants import M, Producer

if TYPE_CHECKING:
    from mqtransport.testing.fakes import FakeProducer

STATE_KEY = "mq"
"""The key under which the lifespan state, and ``app.state``, hold the MQApp."""

_NO_LIFESPAN = (
    "FastMQ is not running in this application. Give it the app with FastMQ(app), or with "
    "mq.init_app(app). If you did: its lifespan did not run, or has ended. A "
    "mounted sub-application's lifespan never runs: give FastMQ the outermost app. In tests use "
    "'with TestClient(app)'; AsyncClient with ASGITransport runs no lifespan, so wrap it in "
    "'async with app.router.lifespan_context(app)'; or override the dependency."
)


def find_mq(connection: HTTPConnection) -> MQApp | None:
    """Return the MQApp that serves this connection, None if no lifespan is running."""
    found = connection.scope.get("state", {}).get(STATE_KEY)
    if found is None:
        found = getattr(connection.app.state, STATE_KEY, None)
    return found if isinstance(found, MQApp) else None


async def get_mq(connection: HTTPConnection) -> MQApp:
    """Return the running MQApp; a dependency, also behind the alias ``MQ``.

    Raises:
        NotStartedError: the lifespan is not running.
    """
    app = find_mq(connection)
    if app is None:
        raise NotStartedError(_NO_LIFESPAN)
    return app


MQ = Annotated[MQApp, Depends(get_mq)]
"""Annotate a route's parameter with it to get the running MQApp."""


class _OfTheProducer:
    """A method that the producer has and its dependency has not; says so when it is used."""

    def __get__(self, dependency: "ProducerDependency[Any] | None", owner: type) -> Any:
        if dependency is None:
            return self
        raise UsageError(
            f"this is the dependency, not the producer; take the producer in a route: "
            f"producer: Annotated[Producer[{dependency.model.__name__}], Depends(...)]"
        )


@dataclass(frozen=True)
class ProducerDependency(Generic[M]):
    """Hands out the producer of one kind of message; made by ``mq.producer(...)``.

    Equal and hashable by value, so that a newly made one is a key of
    ``app.dependency_overrides`` as well.

    Attributes:
        queue: the queue's name.
        model: the model of the body.
        name: the message name.
    """

    queue: str
    model: type[M]
    name: str

    # Of the producer. No __getattr__: it would be asked for __wrapped__ on each request.
    send = produce = send_many = _OfTheProducer()

    async def __call__(self, connection: HTTPConnection) -> Producer[Any]:
        """Return the running producer.

        Raises:
            NotStartedError: the lifespan is not running.
        """
        app = await get_mq(connection)
        channel = app.producing_channel(self.queue)
        producer = channel.producer(self.name) if channel is not None else None
        if producer is None:
            raise NotStartedError(
                f"there is no producer {self.name!r} on queue {self.queue!r}: declare it with "
                f"mq.producer() before the application starts"
            )
        return producer

    def fake(self) -> "FakeProducer[M]":
        """Return a producer that records, for ``app.dependency_overrides``."""
        from mqtransport.testing.fakes import FakeProducer

        return FakeProducer(self.model, self.name)


@dataclass(frozen=True)
class ProvidedProducer:
    """Hands out the producer of one class; made by ``mq.provide(MP_Order)``.

    Attributes:
        kind: the producer class.
        queue: the queue, where the class produces for several; None elsewhere.
    """

    kind: type[Producer[Any]]
    queue: str | None = None

    async def __call__(self, connection: HTTPConnection) -> Producer[Any]:
        """Return the running producer of the class.

        Raises:
            NotStartedError: the lifespan is not running, or no channel has such a producer.
            UsageError: several have one, and ``queue`` does not say which.
        """
        app = await get_mq(connection)
        found = [
            producer
            for channel in app.producing_channels
            if self.queue in (None, channel.name)
            for producer in channel.producers
            if type(producer) is self.kind
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"{self.kind.__name__} produces for several queues; say which with "
                f"mq.provide({self.kind.__name__}, queue=...)"
            )
        raise NotStartedError(
            f"no channel has a {self.kind.__name__}: add it with mq.add_producer(queue, "
            f"{self.kind.__name__}) before the application starts"
        )

    def fake(self) -> "FakeProducer[Any]":
        """Return a producer that records, for ``app.dependency_overrides``."""
        from mqtransport.testing.fakes import FakeProducer

        return FakeProducer(self.kind.Model, self.kind.name)
