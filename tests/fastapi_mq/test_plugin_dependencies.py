import queue
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from plugin_doubles import Invoice, Order, ScriptedBroker, client_of, creating, secretive, serving
from pydantic import BaseModel
from starlette.responses import JSONResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fastapi_mq import MQ, Consumer, Delivery, FastMQ, MQApp, Producer, SendError, get_mq
from mqtransport.channel import ProducingChannel
from mqtransport.errors import ChannelError, MessageRefusedError, NotStartedError, UsageError

mq = FastMQ()
orders = mq.producer("orders", Order)
Orders = Annotated[Producer[Order], Depends(orders)]
"""Shared by every application below: what is declared holds no state of a running one."""


def make_app() -> FastAPI:
    app = FastAPI(lifespan=mq.lifespan)
    mq.install_errors(app)
    return app


# -- injection ---------------------------------------------------------------------------


def test_http_websocket_subdependency_and_router_dependencies_share_one_producer() -> None:
    app = make_app()
    seen: list[Producer[Any]] = []

    async def remember(producer: Orders) -> None:
        seen.append(producer)

    async def below(producer: Orders) -> Producer[Order]:
        return producer

    router = APIRouter(dependencies=[Depends(remember)])

    @router.post("/http")
    async def over_http(producer: Orders, nested: Annotated[Any, Depends(below)]) -> str:
        seen.extend([producer, nested])
        return (await producer.send(Order(id=1))).state

    @router.websocket("/ws")
    async def over_websocket(socket: WebSocket, producer: Orders, app: MQ) -> None:
        seen.append(producer)
        await socket.accept()
        await socket.send_text((await producer.produce(id=2)).state)

    @router.get("/sync")
    def in_a_thread(producer: Orders, app: MQ) -> bool:
        seen.append(producer)
        return app.running

    app.include_router(router)
    with TestClient(app) as client:
        assert client.post("/http").json() == "confirmed"
        with client.websocket_connect("/ws") as socket:
            assert socket.receive_text() == "confirmed"
        assert client.get("/sync").json() is True
    assert len(seen) == 7
    assert len(set(map(id, seen))) == 1


def test_a_bare_dependency_on_the_declaration_itself_works_as_a_router_dependency() -> None:
    app = make_app()
    router = APIRouter(dependencies=[Depends(orders), Depends(get_mq)])
    router.get("/")(lambda: "ok")
    app.include_router(router)
    with TestClient(app) as client:
        assert client.get("/").json() == "ok"


def test_a_producer_declared_by_another_fastmq_is_a_clear_error() -> None:
    stranger = FastMQ().producer("invoices", Invoice)
    app = make_app()

    @app.get("/")
    async def route(producer: Annotated[Producer[Invoice], Depends(stranger)]) -> None: ...

    with (
        TestClient(app) as client,
        pytest.raises(NotStartedError, match=r"'Invoice' on queue 'invoices': declare it with"),
    ):
        client.get("/")


# -- class participants ------------------------------------------------------------------


class MP_Order(Producer):
    name = "orders.placed"

    class Model(BaseModel):
        id: int


def test_class_participants_are_declared_and_provided() -> None:
    seen: queue.Queue[tuple[int, str, bool]] = queue.Queue()

    class MC_Order(Consumer):
        name = "orders.placed"

        class Model(BaseModel):
            id: int

        async def consume(self, msg: Model, mq_app: MQApp, delivery: Delivery) -> None:
            seen.put((msg.id, delivery.name, mq_app.running))

    app = FastAPI()
    own = FastMQ(app)
    own.add_producer("orders", MP_Order)
    own.add_consumer("orders", MC_Order)

    @app.post("/")
    async def place(producer: Annotated[MP_Order, Depends(own.provide(MP_Order))]) -> bool:
        await producer.produce(id=4)
        return type(producer) is MP_Order

    for _ in range(2):
        with TestClient(app) as client:
            assert client.post("/").json() is True
            assert seen.get(timeout=5) == (4, "orders.placed", True)


def test_provide_of_a_class_that_was_never_added_names_the_call() -> None:
    app = make_app()

    @app.get("/")
    async def route(producer: Annotated[MP_Order, Depends(mq.provide(MP_Order))]) -> None: ...

    with (
        TestClient(app) as client,
        pytest.raises(NotStartedError, match=r"mq\.add_producer\(queue, MP_Order\)"),
    ):
        client.get("/")


def test_provide_of_a_class_on_two_queues_is_refused_or_names_the_queue() -> None:
    own = FastMQ()
    own.add_producer("a", MP_Order)
    own.add_producer("b", MP_Order)
    app = FastAPI(lifespan=own.lifespan)

    @app.get("/")
    async def route(producer: Annotated[MP_Order, Depends(own.provide(MP_Order))]) -> None: ...

    with pytest.raises(UsageError), TestClient(app) as client:
        client.get("/")


def test_a_class_producer_and_a_declared_one_of_the_same_model_are_the_same() -> None:
    own = FastMQ()
    own.add_producer("orders", MP_Order)
    same = own.producer("orders", MP_Order.Model, name="orders.placed")
    app = FastAPI(lifespan=own.lifespan)

    @app.get("/")
    async def route(
        one: Annotated[Any, Depends(same)], two: Annotated[Any, Depends(own.provide(MP_Order))]
    ) -> bool:
        return one is two

    with TestClient(app) as client:
        assert client.get("/").json() is True


# -- overrides and fakes -----------------------------------------------------------------


def place_app() -> FastAPI:
    app = make_app()

    @app.post("/", status_code=202)
    async def place(order: Order, producer: Orders) -> None:
        await producer.send(order)

    @app.post("/sync")
    def place_in_a_thread(order: Order, producer: Orders) -> None:
        raise ChannelError("the broker is down", queue="orders")

    @app.websocket("/ws")
    async def listen(socket: WebSocket, producer: Orders) -> None:
        await socket.accept()
        await producer.send(Order(id=int(await socket.receive_text())))
        await socket.close(1000)

    return app


async def test_an_override_keyed_by_a_newly_built_equal_dependency_needs_no_lifespan() -> None:
    app, key = place_app(), FastMQ().producer("orders", Order)
    assert key == orders
    assert key is not orders
    assert hash(key) == hash(orders)
    fake = key.fake()
    app.dependency_overrides[key] = lambda: fake
    async with client_of(app) as client:
        assert (await client.post("/", json={"id": 9})).status_code == 202
    assert fake.sent == [Order(id=9)]


def test_overrides_reach_websockets_without_a_lifespan() -> None:
    app, fake = place_app(), orders.fake()
    app.dependency_overrides[orders] = lambda: fake
    with TestClient(app).websocket_connect("/ws") as socket:
        socket.send_text("3")
        with pytest.raises(WebSocketDisconnect):
            socket.receive_text()
    assert fake.sent == [Order(id=3)]


async def test_an_override_of_provide_is_keyed_by_value_too() -> None:
    app = FastAPI()

    @app.post("/")
    async def place(producer: Annotated[MP_Order, Depends(mq.provide(MP_Order))]) -> None:
        await producer.produce(id=1)

    fake = mq.provide(MP_Order).fake()
    app.dependency_overrides[FastMQ().provide(MP_Order)] = lambda: fake
    async with client_of(app) as client:
        await client.post("/")
    assert [one.model_dump() for one in fake.sent] == [{"id": 1}]
    assert fake.name == "orders.placed"


async def test_a_fake_with_an_error_gives_503() -> None:
    app, fake = place_app(), orders.fake()
    fake.error = SendError("down", queue="orders", message_id="m", outcome="not_sent")
    app.dependency_overrides[orders] = lambda: fake
    async with client_of(app) as client:
        answer = await client.post("/", json={"id": 9})
    assert answer.status_code == 503
    assert fake.sent == []


async def test_fakes_refuse_what_the_real_one_refuses() -> None:
    class Wide(BaseModel):
        text: str

    fake = FastMQ().producer("wide", Wide).fake()
    with pytest.raises(MessageRefusedError):
        await fake.send(Order(id=1))  # type: ignore[arg-type]
    with pytest.raises(MessageRefusedError):
        await fake.produce(text=7)
    with pytest.raises(MessageRefusedError):
        await fake.send(Wide(text="x"), delay_s=901)
    with pytest.raises(MessageRefusedError):
        await fake.send(Wide(text=_incompressible(2_800_000)))
    results = await fake.send_many([Wide(text="a"), Order(id=1)])  # type: ignore[list-item]
    assert isinstance(results[1], MessageRefusedError)
    assert [one.text for one in fake.sent] == ["a"]
    sent = await fake.send(Wide(text="b"), headers={"k": "v"}, message_id="mine")
    assert sent.id == "mine"
    assert fake.recorded[-1].extras.headers == {"k": "v"}


def _incompressible(size: int) -> str:
    import random

    return random.Random(1).randbytes(size // 2).hex()


# -- broker errors in routes -------------------------------------------------------------


async def test_a_send_that_fails_is_503_with_retry_after_and_no_foreign_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = ScriptedBroker()
    own = FastMQ(create=creating(broker, send_timeout_s=0.2))
    app = FastAPI()

    @app.post("/")
    async def place(
        producer: Annotated[Producer[Order], Depends(own.producer("orders", Order))],
    ) -> None:
        await producer.send(Order(id=1))

    own.init_app(app)
    async with serving(app) as client:
        broker.errors["send"] = secretive()
        answer = await client.post("/")
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert "arn:" not in answer.text
        assert "orders" not in answer.text
        assert "'/'" in caplog.text


def test_a_broker_error_in_a_sync_route_is_503() -> None:
    with TestClient(place_app()) as client:
        answer = client.post("/sync", json={"id": 1})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


def test_a_refused_message_is_no_503() -> None:
    app = make_app()

    @app.post("/")
    async def place(producer: Orders) -> None:
        await producer.produce(id="no number")

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.post("/").status_code == 500
    with TestClient(app) as client, pytest.raises(MessageRefusedError):
        client.post("/")


def socket_app(before: bool) -> FastAPI:
    app = make_app()

    @app.websocket("/ws")
    async def listen(socket: WebSocket) -> None:
        if not before:
            await socket.accept()
        raise ChannelError("down", queue="orders")

    return app


def test_a_broker_error_before_accept_closes_with_1013() -> None:
    with (
        TestClient(socket_app(before=True)) as client,
        pytest.raises(WebSocketDisconnect) as caught,
        client.websocket_connect("/ws"),
    ):
        pass
    assert caught.value.code == 1013


def test_a_broker_error_after_accept_closes_with_1013() -> None:
    with (
        TestClient(socket_app(before=False)) as client,
        client.websocket_connect("/ws") as socket,
        pytest.raises(WebSocketDisconnect) as caught,
    ):
        socket.receive_text()
    assert caught.value.code == 1013


def test_a_refused_message_in_a_websocket_is_not_taken_for_an_outage() -> None:
    app = make_app()

    @app.websocket("/ws")
    async def listen(socket: WebSocket, producer: Orders) -> None:
        await socket.accept()
        await producer.produce(id="no number")

    with (
        TestClient(app) as client,
        pytest.raises(MessageRefusedError),
        client.websocket_connect("/ws") as socket,
    ):
        socket.receive_text()


def test_a_broker_error_after_the_route_closed_the_websocket_hurts_nobody() -> None:
    app = make_app()

    @app.websocket("/ws")
    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close(1000)
        raise ChannelError("down", queue="orders")

    with (
        TestClient(app) as client,
        client.websocket_connect("/ws") as socket,
        pytest.raises(WebSocketDisconnect) as caught,
    ):
        socket.receive_text()
    assert caught.value.code == 1000


def test_a_broker_error_after_the_client_left_hurts_nobody() -> None:
    app = make_app()
    ended: queue.Queue[str] = queue.Queue()

    @app.websocket("/ws")
    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await socket.receive_text()
        except WebSocketDisconnect:
            ended.put("left")
            raise ChannelError("down", queue="orders") from None

    with TestClient(app) as client:
        with client.websocket_connect("/ws"):
            pass
        assert ended.get(timeout=5) == "left"


@pytest.mark.parametrize("mapped", [True, False])
def test_the_mapping_can_be_installed_in_a_mounted_sub_app(mapped: bool) -> None:
    parent, sub = FastAPI(), FastAPI()
    own = FastMQ(parent)
    if mapped:
        own.install_errors(sub)

    @sub.get("/")
    async def route() -> None:
        raise ChannelError("down", queue="orders")

    parent.mount("/sub", sub)
    with TestClient(parent, raise_server_exceptions=False) as client:
        # A sub-application answers for its own errors: the parent's mapping comes too late.
        assert client.get("/sub/").status_code == (503 if mapped else 500)


def test_a_handler_of_the_user_for_channel_errors_is_kept() -> None:
    app = FastAPI(exception_handlers={ChannelError: lambda *_: JSONResponse({}, 418)})
    FastMQ(app)

    @app.get("/")
    async def route() -> None:
        raise ChannelError("down", queue="orders")

    with TestClient(app) as client:
        assert client.get("/").status_code == 418


async def test_a_usage_error_is_no_503() -> None:
    app = make_app()

    @app.get("/")
    async def route(app: MQ) -> None:
        await app.start()

    async with app.router.lifespan_context(app), client_of(app, raises=False) as client:
        assert (await client.get("/")).status_code == 500


def test_the_channel_of_a_producer_is_the_declared_queue() -> None:
    app = make_app()

    @app.get("/")
    async def route(producer: Orders) -> bool:
        return isinstance(producer.channel, ProducingChannel) and producer.channel.name == "orders"

    with TestClient(app) as client:
        assert client.get("/").json() is True


def test_a_fake_stands_in_the_overrides_as_it_is() -> None:
    app = FastAPI()
    own = FastMQ(app)
    orders = own.producer("orders", Order)

    @app.post("/orders")
    async def place(producer: Annotated[Producer[Order], Depends(orders)]) -> None:
        await producer.send(Order(id=1))

    fake = orders.fake()
    app.dependency_overrides[orders] = fake
    assert TestClient(app).post("/orders").status_code == 200
    assert fake.sent == [Order(id=1)]


def test_sending_with_the_dependency_itself_says_how_to_get_the_producer() -> None:
    orders = FastMQ().producer("orders", Order)
    with pytest.raises(UsageError, match=r"Annotated\[Producer\[Order\]"):
        orders.send(Order(id=1))
    assert not hasattr(orders, "anything_else")
