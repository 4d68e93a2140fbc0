import asyncio
import importlib
import logging
import queue
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from plugin_doubles import Invoice, Order, ScriptedBroker, client_of, creating, eventually, serving
from starlette.testclient import TestClient

from fastapi_mq import MQ, FastMQ, Producer
from mqtransport import MQApp
from mqtransport.errors import NotStartedError, UsageError

MODES = ["init_app", "lifespan", "nested"]


@pytest.fixture
def design_app() -> Any:
    sys.modules.pop("design_app", None)
    module: Any = importlib.import_module("design_app")
    module.seen = queue.Queue()
    module.print = lambda *words: module.seen.put(words)
    return module


def test_the_app_of_the_design_sends_handles_and_is_healthy(design_app: Any) -> None:
    with TestClient(design_app.app) as client:
        assert client.post("/orders", json={"id": 7}).status_code == 202
        assert design_app.seen.get(timeout=5) == ("order", 7)
        assert client.get("/health/mq").json() == {"status": "pass"}
        assert client.get("/health/mq/live").json() == {"status": "pass"}
        assert client.get("/health/mq/ready").json() == {"status": "pass"}
        assert client.post("/orders", json={"id": "x"}).status_code == 422


def test_the_same_app_object_survives_three_lifespans(design_app: Any) -> None:
    for number in range(3):
        with TestClient(design_app.app) as client:
            assert client.post("/orders", json={"id": number}).status_code == 202
            assert design_app.seen.get(timeout=5) == ("order", number)
        assert not hasattr(design_app.app.state, "mq")


def test_the_health_endpoints_are_not_in_the_schema(design_app: Any) -> None:
    assert list(design_app.app.openapi()["paths"]) == ["/orders"]


def test_message_names_are_logged_at_start(
    design_app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fastapi_mq"), TestClient(design_app.app):
        pass
    assert "messages named 'Order' are consumed" in caplog.text
    assert "messages named 'Order' are produced" in caplog.text


def hosted(mode: str, mq: FastMQ, events: list[str], state: dict[str, Any] | None) -> FastAPI:
    @asynccontextmanager
    async def of_the_user(app: FastAPI) -> AsyncIterator[dict[str, Any] | None]:
        events.append("user up")
        yield state
        events.append("user down")

    @asynccontextmanager
    async def nesting(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        events.append("user up")
        async with mq.lifespan(app) as ours:
            yield {**(state or {}), **ours}
        events.append("user down")

    if mode == "init_app":
        app = FastAPI(lifespan=of_the_user)
        mq.init_app(app)
        return app
    app = FastAPI(lifespan=nesting if mode == "nested" else mq.lifespan)
    app.include_router(mq.health_router())
    mq.install_errors(app)
    return app


@pytest.mark.parametrize("mode", ["init_app", "nested"])
async def test_consumers_start_after_the_user_and_stop_before(mode: str) -> None:
    events: list[str] = []
    broker = ScriptedBroker(events)
    mq = FastMQ(create=creating(broker))

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    app = hosted(mode, mq, events, None)
    async with serving(app):
        await eventually(lambda: "receive" in events)
    assert events == ["user up", "receive", "closed", "user down"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", [None, {"mine": 1}])
def test_the_state_holds_our_key_next_to_the_users(mode: str, state: dict[str, int] | None) -> None:
    app = hosted(mode, FastMQ(), [], state)

    @app.get("/")
    def read(request: Request, mq: MQ) -> dict[str, Any]:
        assert request.state.mq is mq
        return {"mine": getattr(request.state, "mine", None)}

    with TestClient(app) as client:
        expected = 1 if state and mode != "lifespan" else None
        assert client.get("/").json() == {"mine": expected}
        assert client.get("/health/mq").status_code == 200


async def test_startup_handlers_still_run_before_the_consumers() -> None:
    events: list[str] = []
    app = FastAPI(
        on_startup=[lambda: events.append("up")], on_shutdown=[lambda: events.append("down")]
    )
    mq = FastMQ(app, create=creating(ScriptedBroker(events)))

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    async with serving(app):
        await eventually(lambda: "receive" in events)
    assert events == ["up", "receive", "closed", "down"]


def test_init_app_twice_starts_once(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    mq = FastMQ(app)
    assert mq.init_app(app) is mq
    mq.producer("orders", Order)
    with caplog.at_level(logging.INFO), TestClient(app):
        pass
    assert caplog.text.count("started on broker") == 1


def test_a_second_fastmq_on_one_app_is_refused() -> None:
    app = FastAPI()
    FastMQ(app)
    with pytest.raises(UsageError, match="another FastMQ"):
        FastMQ(app)


def test_lifespan_and_init_app_with_one_fastmq_start_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mq = FastMQ()
    app = FastAPI(lifespan=mq.lifespan)
    mq.init_app(app)
    mq.producer("orders", Order)
    with caplog.at_level(logging.INFO), TestClient(app) as client:
        assert client.get("/health/mq").status_code == 200
    assert caplog.text.count("started on broker") == 1
    assert not hasattr(app.state, "mq")


def test_two_fastmq_on_one_app_by_different_ways_are_refused() -> None:
    first, second = FastMQ(), FastMQ()
    app = FastAPI(lifespan=first.lifespan)
    second.init_app(app)

    @second.consumer("orders")
    async def handle(order: Order) -> None: ...

    try:
        with TestClient(app):
            started = [one.name for one in app.state.mq.consuming_channels]
    except UsageError:
        return
    assert started == ["orders"]


def test_two_lifespans_at_a_time_do_not_share_an_mqapp(design_app: Any) -> None:
    with TestClient(design_app.app) as first:
        try:
            with TestClient(design_app.app) as second:
                assert second.app_state["mq"] is not first.app_state["mq"]
        except UsageError:
            pass  # a clear refusal is as good
        assert first.post("/orders", json={"id": 1}).status_code == 202


async def test_including_the_health_router_twice_starts_once_and_serves() -> None:
    broker = ScriptedBroker()
    app = FastAPI()
    mq = FastMQ(app, create=creating(broker))
    app.include_router(mq.health_router())
    mq.producer("orders", Order)
    async with serving(app) as client:
        assert (await client.get("/health/mq")).status_code == 200
    assert broker.calls["connect"] == 1


async def test_init_app_on_a_running_app_is_refused() -> None:
    app = FastAPI()
    async with client_of(app) as client:
        await client.get("/")
    with pytest.raises(UsageError):
        FastMQ(app)


# -- routers -----------------------------------------------------------------------------


def router_with_lifespan(events: list[str]) -> APIRouter:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        events.append("router up")
        yield
        events.append("router down")

    return APIRouter(lifespan=lifespan)


@pytest.mark.parametrize("late", [False, True])
async def test_a_router_lifespan_included_late_warns_and_an_early_one_does_not(
    late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []
    app = FastAPI()
    if not late:
        app.include_router(router_with_lifespan(events))
    mq = FastMQ(app, create=creating(ScriptedBroker(events)))

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    if late:
        app.include_router(router_with_lifespan(events))
    async with serving(app):
        await eventually(lambda: "receive" in events and "router up" in events)
    assert ("a lifespan was added after FastMQ(app)" in caplog.text) is late
    if not late:
        assert events == ["router up", "receive", "closed", "router down"]


@pytest.mark.parametrize("count", [1, 3])
async def test_plain_routers_included_late_do_not_warn(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    FastMQ(app)
    for _ in range(count):
        app.include_router(APIRouter())
    async with serving(app):
        pass
    assert "a lifespan was added" not in caplog.text


async def test_nested_plain_routers_included_late_do_not_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    FastMQ(app)
    outer = APIRouter(prefix="/api")
    outer.include_router(APIRouter(prefix="/v1"))
    app.include_router(outer)
    async with serving(app):
        pass
    assert "a lifespan was added" not in caplog.text


async def test_a_nested_router_with_a_lifespan_included_late_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    FastMQ(app)
    outer = APIRouter()
    outer.include_router(router_with_lifespan([]))
    app.include_router(outer)
    async with serving(app):
        pass
    assert "Call FastMQ().init_app(app) after the last include_router" in caplog.text


async def test_a_late_router_with_startup_handlers_warns(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    FastMQ(app)
    app.include_router(APIRouter(on_startup=[lambda: None]))
    async with serving(app):
        pass
    assert "a lifespan was added after FastMQ(app)" in caplog.text


async def test_an_unknown_wrapper_around_the_lifespan_warns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    FastMQ(app)
    ours = app.router.lifespan_context

    @asynccontextmanager
    async def wrapper(running: FastAPI) -> AsyncIterator[Any]:
        async with ours(running) as state:
            yield state

    app.router.lifespan_context = wrapper
    async with serving(app):
        pass
    assert "a lifespan was added after FastMQ(app)" in caplog.text


# -- where it does not run ---------------------------------------------------------------


async def test_without_a_lifespan_the_error_says_what_to_do(design_app: Any) -> None:
    async with client_of(design_app.app) as client:
        with pytest.raises(NotStartedError) as caught:
            await client.post("/orders", json={"id": 1})
        text = str(caught.value)
        assert "with TestClient(app)" in text
        assert "app.router.lifespan_context(app)" in text
        assert "override" in text
        assert (await client.get("/health/mq")).json() == {
            "status": "fail",
            "error": "not_started",
        }
        assert (await client.get("/health/mq/ready")).status_code == 503
        assert (await client.get("/health/mq/live")).status_code == 200


async def test_with_the_lifespan_context_the_async_client_works(design_app: Any) -> None:
    async with serving(design_app.app) as client:
        assert (await client.post("/orders", json={"id": 3})).status_code == 202
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(design_app.seen.get, timeout=5) == ("order", 3)


def test_a_mounted_sub_app_that_hosts_fastmq_says_that_its_lifespan_never_runs(
    design_app: Any,
) -> None:
    parent = FastAPI()
    parent.mount("/sub", design_app.app)
    with TestClient(parent) as client:
        with pytest.raises(NotStartedError, match="give FastMQ the outermost app"):
            client.post("/sub/orders", json={"id": 1})
        assert client.get("/sub/health/mq").status_code == 503


def test_routes_of_a_mounted_sub_app_get_producers_of_the_outermost_app() -> None:
    sub, parent = FastAPI(), FastAPI()
    mq = FastMQ(parent)
    orders = mq.producer("orders", Order)

    @sub.post("/orders")
    async def place(order: Order, producer: Annotated[Producer[Order], Depends(orders)]) -> str:
        return (await producer.send(order)).state

    parent.mount("/sub", sub)
    with TestClient(parent) as client:
        assert client.post("/sub/orders", json={"id": 1}).json() == "confirmed"


def test_after_the_lifespan_the_use_of_the_old_app_is_a_clear_error(design_app: Any) -> None:
    with TestClient(design_app.app) as client:
        pass
    assert client.get("/health/mq").status_code == 503
    assert client.get("/health/mq/ready").status_code == 503
    assert client.get("/health/mq/live").status_code == 200
    with pytest.raises(UsageError, match=r"not running|shut down"):
        client.post("/orders", json={"id": 1})


# -- create= -----------------------------------------------------------------------------


def test_create_may_bring_channels_of_its_own() -> None:
    seen: queue.Queue[int] = queue.Queue()
    made: list[MQApp] = []

    async def prepare(app: MQApp) -> None:
        await app.create_producing_channel("orders")
        await app.create_producing_channel("other")
        made.append(app)

    mq = FastMQ(create=creating(ScriptedBroker(), prepare=prepare))
    app = FastAPI(lifespan=mq.lifespan)
    orders = mq.producer("orders", Order)

    @mq.consumer("orders")
    def handle(order: Order, mq_app: MQApp) -> None:
        assert mq_app is made[0]
        seen.put(order.id)

    @app.post("/")
    async def place(order: Order, producer: Annotated[Producer[Order], Depends(orders)]) -> None:
        await producer.send(order)

    with TestClient(app) as client:
        client.post("/", json={"id": 5})
        assert seen.get(timeout=5) == 5
        assert [one.name for one in made[0].producing_channels] == ["orders", "other"]


async def test_declared_options_of_a_channel_that_create_made_are_refused() -> None:
    async def prepare(app: MQApp) -> None:
        await app.create_consuming_channel("orders")

    broker = ScriptedBroker()
    mq = FastMQ(create=creating(broker, prepare=prepare))

    @mq.consumer("orders", dead_letter="orders-dlq", concurrency=1)
    async def handle(order: Order) -> None: ...

    with pytest.raises(UsageError, match=r"'orders'.*create=.*orders-dlq"):
        async with serving(FastAPI(lifespan=mq.lifespan)):
            pass
    assert broker.closed


def test_settings_and_create_together_are_refused() -> None:
    from mqtransport import MQSettings

    with pytest.raises(UsageError, match="settings or create"):
        FastMQ(settings=MQSettings(), create=creating(ScriptedBroker()))


async def test_an_app_without_declarations_pings_at_start_and_is_ready() -> None:
    broker = ScriptedBroker()
    app = FastAPI()
    FastMQ(app, create=creating(broker))
    async with serving(app) as client:
        assert broker.calls["ping"] == 1
        assert (await client.get("/health/mq/ready")).json() == {"status": "pass"}


async def test_the_dead_letter_queue_and_the_options_reach_the_channel() -> None:
    mq = FastMQ()

    @mq.consumer("orders", dead_letter="orders-dlq", concurrency=3)
    async def handle(order: Order) -> None: ...

    @mq.consumer("orders", dead_letter="orders-dlq")
    async def bill(invoice: Invoice) -> None: ...

    app = FastAPI(lifespan=mq.lifespan)
    async with serving(app):
        (channel,) = app.state.mq.consuming_channels
        assert channel.options.concurrency == 3
        assert channel.dead_letter_queue is not None
        assert channel.dead_letter_queue.name == "orders-dlq"
        assert sorted(one.name for one in channel.consumers) == ["Invoice", "Order"]


async def test_a_producer_on_the_dead_letter_queue_shares_its_channel() -> None:
    mq = FastMQ()
    mq.producer("orders-dlq", Order)

    @mq.consumer("orders", dead_letter="orders-dlq")
    async def handle(order: Order) -> None: ...

    app = FastAPI(lifespan=mq.lifespan)
    async with serving(app):
        assert [one.name for one in app.state.mq.producing_channels] == ["orders-dlq"]


async def test_several_apps_of_one_process_do_not_meet() -> None:
    async with AsyncExitStack() as stack:
        apps = []
        for _ in range(2):
            app = FastAPI()
            FastMQ(app).producer("orders", Order)
            apps.append(app)
            await stack.enter_async_context(serving(app))
        assert apps[0].state.mq is not apps[1].state.mq
