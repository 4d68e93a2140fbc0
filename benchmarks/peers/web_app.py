"""The FastAPI applications that are compared, each behind uvicorn in a process of its own.

``python -m benchmarks.peers.web_app KIND`` prints one line of JSON with its ``port``, then serves.
Every application has the one route ``POST /orders`` with a pydantic body, and ``GET /used``.
No postponed annotations here: dependencies are local names, which FastAPI could not look up.
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from benchmarks.measuring import cpu_s, peak_bytes
from benchmarks.message import Order
from fastapi_mq import FastMQ, MQSettings, Producer

QUEUE = "orders"
CONNECTIONS = 32
ROUTE = "/orders"


async def _nothing(connection: HTTPConnection) -> None:
    return None


def bare() -> FastAPI:
    """Return the application without the plugin."""
    app = FastAPI()
    _add_idle_route(app)
    return app


def depends() -> FastAPI:
    """Return the bare one with a dependency that does nothing: the least that Depends costs."""
    app = FastAPI()

    @app.post(ROUTE, status_code=202)
    async def place(order: Order, found: Annotated[None, Depends(_nothing)]) -> None:
        return None

    return app


def suspends() -> FastAPI:
    """Return the same, whose route lets the loop turn once: the least that waiting costs."""
    app = FastAPI()

    @app.post(ROUTE, status_code=202)
    async def place(order: Order, found: Annotated[None, Depends(_nothing)]) -> None:
        await asyncio.sleep(0)

    return app


def plugin() -> FastAPI:
    """Return the application with the plugin; the route does not produce."""
    app = FastAPI()
    FastMQ(app, settings=MQSettings(url="memory://")).producer(QUEUE, Order)
    _add_idle_route(app)
    return app


def memory() -> FastAPI:
    """Return the application that produces to the memory broker, by ``Depends``."""
    app = FastAPI()
    _add_producing_route(app, FastMQ(app, settings=MQSettings(url="memory://")))
    return app


def memory_consumed() -> FastAPI:
    """Return the same with a consumer of the messages, which works meanwhile."""
    app = FastAPI()
    mq = FastMQ(app, settings=MQSettings(url="memory://"))

    @mq.consumer(QUEUE)
    async def handle(order: Order) -> None:
        return None

    _add_producing_route(app, mq)
    return app


def sqs() -> FastAPI:
    """Return the application that produces to SQS; each answer waits for the confirmation."""
    app = FastAPI()
    url = os.environ["BENCH_URL"]
    settings = MQSettings(broker="sqs", region="us-east-1", url=url)
    _add_producing_route(app, FastMQ(app, settings=settings))
    return app


def sqs_by_hand() -> FastAPI:
    """Return the application that awaits one ``send_message`` of aiobotocore."""
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    held: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        config = AioConfig(max_pool_connections=CONNECTIONS)
        async with get_session().create_client(
            "sqs", endpoint_url=os.environ["BENCH_URL"], config=config
        ) as client:
            held["client"] = client
            held["url"] = (await client.get_queue_url(QueueName=QUEUE))["QueueUrl"]
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post(ROUTE, status_code=202)
    async def place(order: Order) -> None:
        await held["client"].send_message(QueueUrl=held["url"], MessageBody=order.model_dump_json())

    return app


KINDS: dict[str, Callable[[], FastAPI]] = {
    one.__name__: one
    for one in (bare, depends, suspends, plugin, memory, memory_consumed, sqs, sqs_by_hand)
}


def _add_idle_route(app: FastAPI) -> None:
    @app.post(ROUTE, status_code=202)
    async def place(order: Order) -> None:
        return None


def _add_producing_route(app: FastAPI, mq: FastMQ) -> None:
    orders = mq.producer(QUEUE, Order)

    @app.post(ROUTE, status_code=202)
    async def place(order: Order, producer: Annotated[Producer[Order], Depends(orders)]) -> None:
        await producer.send(order)


def serve(kind: str) -> None:
    """Serve an application until the process is told to end."""
    app = KINDS[kind]()

    @app.get("/used")
    async def used() -> dict[str, float]:
        return {"cpu_s": cpu_s(), "peak_bytes": peak_bytes()}

    config = uvicorn.Config(app, access_log=False, log_level="warning")
    listening = socket.create_server(("127.0.0.1", 0))
    # Connections wait in the socket's backlog until the application has started.
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    serve(sys.argv[1])
