import asyncio
import gc
import inspect
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from plugin_doubles import Order, ScriptedBroker, creating, eventually, serving

import mqtransport.app
from fastapi_mq import ChannelError, FastMQ, MQSettings
from mqtransport import MQApp
from mqtransport.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    MQTransportError,
    QueueNotFoundError,
)
from mqtransport.testing.sqs_double import SQSDouble


def library_tasks() -> set[str]:
    return {
        task.get_name()
        for task in asyncio.all_tasks()
        if task.get_name().startswith("mqtransport") and not task.done()
    }


def declared(broker: ScriptedBroker, **options: Any) -> FastAPI:
    mq = FastMQ(create=creating(broker), **options)
    mq.producer("orders", Order)

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    app = FastAPI()
    mq.init_app(app)
    return app


async def failed_start(app: FastAPI, within_s: float = 5.0) -> MQTransportError:
    started = time.monotonic()
    with pytest.raises(MQTransportError) as caught:
        async with serving(app):
            pytest.fail("it started")
    assert time.monotonic() - started < within_s
    assert not hasattr(app.state, "mq")
    assert not hasattr(app.state, "mq_health")
    assert library_tasks() == set()
    gc.collect()
    return caught.value


@pytest.mark.parametrize("verb", ["describe", "ping", "connect"])
async def test_a_hanging_broker_fails_the_start_in_time_and_is_closed(verb: str) -> None:
    broker = ScriptedBroker()
    broker.gates[verb] = asyncio.Event()
    mq = FastMQ(create=creating(broker), start_timeout_s=0.2)
    if verb == "describe":
        mq.producer("orders", Order)
    app = FastAPI()
    mq.init_app(app)
    error = await failed_start(app)
    assert isinstance(error, ChannelError)
    assert "did not answer within 0.2 s" in str(error)
    assert "MQ_URL" in str(error)
    assert broker.closed or verb == "connect"  # its initializer has the broker until it returns


async def test_a_hanging_broker_is_named_with_the_queue() -> None:
    broker = ScriptedBroker()
    broker.gates["describe"] = asyncio.Event()
    text = str(await failed_start(declared(broker, start_timeout_s=0.1)))
    assert "scripted" in text
    assert "'orders'" in text


@pytest.mark.parametrize("how", ["hangs", "fails"])
async def test_a_broker_whose_connect_does_not_succeed_is_closed(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = ScriptedBroker()
    if how == "hangs":
        broker.gates["connect"] = asyncio.Event()
    else:
        broker.errors["connect"] = BrokerUnavailableError("refused")
    monkeypatch.setattr(mqtransport.app, "make_broker", lambda *args, **kwargs: broker)
    app = FastAPI()
    FastMQ(app, start_timeout_s=0.1)
    await failed_start(app)
    assert broker.closed


async def test_a_refusing_broker_fails_the_start_with_its_own_error_and_is_closed() -> None:
    broker = ScriptedBroker()
    broker.errors["describe"] = BrokerUnavailableError("scripted: refused")
    error = await failed_start(declared(broker))
    assert error is broker.errors["describe"]
    assert broker.closed


async def test_a_missing_queue_fails_the_start_and_is_closed() -> None:
    broker = ScriptedBroker()
    broker.errors["describe"] = QueueNotFoundError("scripted: no queue 'orders'", queue="orders")
    error = await failed_start(declared(broker))
    assert isinstance(error, QueueNotFoundError)
    assert broker.closed


async def test_a_broken_initializer_fails_the_start_with_its_own_error() -> None:
    async def create() -> MQApp:
        raise ConfigurationError("mine")

    app = FastAPI()
    FastMQ(app, create=create)
    assert str(await failed_start(app)) == "mine"


async def test_a_timeout_inside_the_initializer_is_not_blamed_on_the_broker() -> None:
    async def create() -> MQApp:
        raise TimeoutError("the vault did not answer")

    app = FastAPI()
    FastMQ(app, create=create)
    with pytest.raises((TimeoutError, ChannelError)) as caught:
        async with serving(app):
            pass
    assert "vault" in str(caught.value) or "vault" in str(caught.value.__cause__)


@pytest.mark.parametrize("kind", ["plain", "forgot"])
async def test_an_initializer_that_makes_no_app_is_a_clear_error(kind: str) -> None:
    async def forgot() -> None: ...

    def plain() -> MQApp:
        return MQApp(ScriptedBroker(), settings=MQSettings())

    app = FastAPI()
    FastMQ(app, create=forgot if kind == "forgot" else plain)  # type: ignore[arg-type]
    assert "create" in str(await failed_start(app))


async def test_a_start_after_a_failed_start_works() -> None:
    first, second = ScriptedBroker(), ScriptedBroker()
    first.errors["describe"] = BrokerUnavailableError("scripted: refused")
    mq = FastMQ(create=creating(first, second))
    mq.producer("orders", Order)
    app = FastAPI()
    mq.init_app(app)
    await failed_start(app)
    async with serving(app) as client:
        assert (await client.get("/health/mq/ready")).status_code == 200


# -- on SQS, where texts are the driver's ------------------------------------------------


def on_sqs(url: str, **settings: Any) -> FastAPI:
    mq = FastMQ(
        settings=MQSettings(
            broker="sqs", url=url, region="eu-west-1", username="u", password="secret", **settings
        )
    )
    mq.producer("orders", Order)
    app = FastAPI()
    mq.init_app(app)
    return app


async def test_sqs_unreachable_names_broker_queue_and_setting(closed_url: str) -> None:
    text = str(await failed_start(on_sqs(closed_url), within_s=10))
    for word in ("SQS", "'orders'", "MQ_URL"):
        assert word in text
    assert "secret" not in text


async def test_sqs_without_the_queue_names_broker_queue_and_setting() -> None:
    async with SQSDouble() as double:
        text = str(await failed_start(on_sqs(double.url), within_s=10))
    for word in ("SQS", "'orders'", "MQ_QUEUE_", "MQ_CREATE_QUEUES"):
        assert word in text


# -- the user's lifespan fails -----------------------------------------------------------


async def test_a_failing_startup_of_the_user_starts_nothing() -> None:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    broker = ScriptedBroker()
    app = FastAPI(lifespan=lifespan)
    FastMQ(app, create=creating(broker))
    with pytest.raises(RuntimeError, match="no database"):
        async with serving(app):
            pass
    assert broker.calls["connect"] == 0


async def test_a_failing_startup_after_ours_closes_everything() -> None:
    broker = ScriptedBroker()
    mq = FastMQ(create=creating(broker))

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with mq.lifespan(app) as state:
            if app.title != "never":
                raise RuntimeError("late")
            yield state

    app = FastAPI(lifespan=lifespan)
    with pytest.raises(RuntimeError, match="late"):
        async with serving(app):
            pass
    assert broker.closed
    assert library_tasks() == set()
    assert not hasattr(app.state, "mq")


async def test_our_failed_start_runs_the_users_teardown() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        events.append("up")
        try:
            yield
        finally:
            events.append("down")

    broker = ScriptedBroker()
    broker.errors["ping"] = BrokerUnavailableError("scripted: refused")
    app = FastAPI(lifespan=lifespan)
    FastMQ(app, create=creating(broker))
    await failed_start(app)
    assert events == ["up", "down"]


# -- cancellation ------------------------------------------------------------------------


async def live(app: FastAPI, up: asyncio.Event, down: asyncio.Event) -> None:
    async with app.router.lifespan_context(app):
        up.set()
        await down.wait()


async def test_cancelling_a_start_closes_the_broker_and_is_not_swallowed() -> None:
    broker = ScriptedBroker()
    broker.gates["describe"] = asyncio.Event()
    broker.entered["describe"] = asyncio.Event()
    app = declared(broker)
    task = asyncio.create_task(live(app, asyncio.Event(), asyncio.Event()))
    async with asyncio.timeout(5):
        await broker.entered["describe"].wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert broker.closed
    assert library_tasks() == set()
    assert not hasattr(app.state, "mq")


async def test_cancelling_a_running_lifespan_stops_and_closes() -> None:
    broker = ScriptedBroker()
    app = declared(broker)
    up = asyncio.Event()
    task = asyncio.create_task(live(app, up, asyncio.Event()))
    async with asyncio.timeout(5):
        await up.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert broker.closed
    assert library_tasks() == set()


async def cancelled_in_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> tuple[ScriptedBroker, list[str]]:
    broker, events = ScriptedBroker(), list[str]()
    begun, finish = asyncio.Event(), asyncio.Event()
    mq = FastMQ(create=creating(broker))
    orders = mq.producer("orders", Order)

    @mq.consumer("orders")
    async def handle(order: Order) -> None:
        begun.set()
        await finish.wait()
        events.append("handled")

    app = FastAPI()
    mq.init_app(app)
    up, down = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(live(app, up, down))
    async with asyncio.timeout(10):
        await up.wait()
        channel = app.state.mq.producing_channel("orders")
        await channel.producer(orders.name).send(Order(id=1))
        await begun.wait()
        mq_app = app.state.mq
        down.set()
        await eventually(lambda: not mq_app.running)
        task.cancel()
        finish.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        events.append("returned")
    return broker, events


async def test_cancelling_a_shutdown_is_not_swallowed_and_closes_the_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker, events = await cancelled_in_shutdown(caplog)
    await eventually(lambda: broker.closed and library_tasks() == set())
    assert "handled" in events
    # The broker is not closed under the running stop: the ack still goes out.
    assert [one for one in caplog.records if one.levelno >= logging.CRITICAL] == []


async def test_a_cancelled_shutdown_leaves_no_task_behind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await cancelled_in_shutdown(caplog)
    assert library_tasks() == set()


async def test_a_running_handler_finishes_before_the_broker_is_closed() -> None:
    events: list[str] = []
    broker = ScriptedBroker(events)
    begun, finish = asyncio.Event(), asyncio.Event()
    mq = FastMQ(create=creating(broker))
    mq.producer("orders", Order)

    @mq.consumer("orders")
    async def handle(order: Order) -> None:
        begun.set()
        await finish.wait()
        events.append("handled")

    app = FastAPI()
    mq.init_app(app)
    up, down = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(live(app, up, down))
    async with asyncio.timeout(10):
        await up.wait()
        mq_app = app.state.mq
        await mq_app.producing_channel("orders").producer("Order").send(Order(id=1))
        await begun.wait()
        down.set()
        await eventually(lambda: not mq_app.running)
        finish.set()
        await task
    assert events == ["receive", "handled", "closed"]
    assert mq_app.consuming_channels[0].counts.acked == 1


async def test_messages_left_in_the_buffer_at_the_end_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = ScriptedBroker()
    mq = FastMQ(create=creating(broker, confirm=False, stop_timeout_s=0.1))
    mq.producer("orders", Order)
    app = FastAPI()
    mq.init_app(app)
    async with serving(app):
        broker.errors["send"] = BrokerUnavailableError("scripted: down")
        mq_app = app.state.mq
        sent = await mq_app.producing_channels[0].producers[0].produce(id=1)
        assert sent.state == "buffered"
    assert mq_app.export_unsent_messages()["orders"]
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert any("orders" in one and "unsent" in one for one in warnings)


def test_the_default_start_limit_is_the_contract_of_10_s() -> None:
    assert inspect.signature(FastMQ).parameters["start_timeout_s"].default == 10.0


@pytest.mark.parametrize("value", [0, -1])
def test_an_impossible_start_timeout_is_refused(value: float) -> None:
    with pytest.raises(MQTransportError, match="start_timeout_s"):
        FastMQ(start_timeout_s=value)


def test_an_impossible_health_path_is_refused() -> None:
    with pytest.raises(MQTransportError, match="health_path"):
        FastMQ(FastAPI(), health_path="health")


# -- several processes -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "child", "concurrency", "warns"),
    [
        (["uvicorn", "m:app", "--workers", "2"], True, None, True),
        (["uvicorn", "m:app", "--workers", "1"], False, None, False),
        (["uvicorn", "m:app", "--reload"], True, None, False),
        (["uvicorn", "m:app"], True, "4", True),
        (["uvicorn", "m:app"], False, None, False),
        pytest.param(
            ["uvicorn", "m:app", "--workers=2"],
            True,
            None,
            True,
        ),
    ],
)
async def test_memory_in_several_workers_warns(
    argv: list[str],
    child: bool,
    concurrency: str | None,
    warns: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr("multiprocessing.parent_process", lambda: object() if child else None)
    if concurrency is not None:
        monkeypatch.setenv("WEB_CONCURRENCY", concurrency)
    app = FastAPI()
    FastMQ(app)
    async with serving(app):
        pass
    assert ("several workers run" in caplog.text) is warns


async def test_a_shared_broker_in_several_workers_does_not_warn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    async with serving(declared(ScriptedBroker())):
        pass
    assert "several workers" not in caplog.text


# -- messages that nobody can handle -----------------------------------------------------


async def warned(caplog: pytest.LogCaptureFixture, mq: FastMQ) -> str:
    async with serving(FastAPI(lifespan=mq.lifespan)):
        pass
    return caplog.text


async def _handle(body: Any) -> None: ...


async def test_a_name_sent_but_not_consumed_on_the_same_queue_is_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mq = FastMQ()
    mq.producer("orders", Order)
    mq.consumer("orders", model=Order, name="Other")(_handle)
    text = await warned(caplog, mq)
    assert "queue 'orders': this application sends 'Order' but consumes only 'Other'" in text


async def test_a_queue_that_nobody_can_consume_on_the_memory_broker_is_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mq = FastMQ()
    mq.producer("orders", Order)
    mq.consumer("order", model=Order, dead_letter="dead")(_handle)
    text = await warned(caplog, mq)
    assert "queue 'orders': this application sends to it and does not consume it" in text
    assert "'dead'" not in text
    assert "'order'" not in text


async def test_what_is_sent_and_consumed_is_not_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mq = FastMQ(settings=MQSettings(url="memory://"))
    mq.producer("orders", Order)
    mq.consumer("orders", model=Order)(_handle)
    assert await warned(caplog, mq) == ""


async def test_a_misspelt_queue_setting_is_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MQ_QUEUE_ORDER", "shop-orders")
    monkeypatch.setenv("MQ_QUEUE_OF_SOMEBODY_ELSE", "theirs")
    mq = FastMQ()
    mq.producer("orders", Order)
    text = await warned(caplog, mq)
    assert "MQ_QUEUE_ORDER names no queue of this app; did you mean MQ_QUEUE_ORDERS?" in text
    assert "SOMEBODY" not in text
