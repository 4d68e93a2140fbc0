import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from httpx import ASGITransport, AsyncClient
from plugin_doubles import (
    CANARIES,
    Order,
    ScriptedBroker,
    client_of,
    creating,
    eventually,
    secretive,
    serving,
)
from starlette.routing import Match

from fastapi_mq import FastMQ, MQApp, Producer
from fastapi_mq.health import HealthCheck
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    BrokerUnavailableError,
    CredentialsError,
    QueueNotFoundError,
    RefusedError,
    ThrottledError,
)
from mqtransport.testing import run_virtual

PATHS = ["/health/mq", "/health/mq/live", "/health/mq/ready"]


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def broker() -> ScriptedBroker:
    return ScriptedBroker()


def make_app(broker: ScriptedBroker, *, consume: bool = False, **options: Any) -> FastAPI:
    settings, clock = options.pop("settings", {}), options.pop("clock", None)
    mq = FastMQ(create=creating(broker, clock=clock, **settings), **options)
    orders = mq.producer("orders", Order)
    app = FastAPI()

    @app.post("/orders")
    async def place(producer: Annotated[Producer[Order], Depends(orders)]) -> None:
        await producer.send(Order(id=1))

    if consume:

        @mq.consumer("orders")
        async def handle(order: Order) -> None: ...

    mq.init_app(app)
    return app


@asynccontextmanager
async def clocked(
    broker: ScriptedBroker, clock: HandClock, **options: Any
) -> AsyncIterator[tuple[AsyncClient, FastAPI]]:
    """Serve an app whose health answers expire by a clock that the test sets."""
    app = make_app(broker, clock=clock, **options)
    async with serving(app) as client:
        yield client, app


async def ask(client: AsyncClient, path: str = "/health/mq") -> tuple[int, dict[str, str]]:
    answer = await client.get(path)
    return answer.status_code, answer.json()


# -- one ping for all --------------------------------------------------------------------


def test_200_concurrent_probes_make_one_broker_call(broker: ScriptedBroker) -> None:
    async def scenario() -> None:
        gate = broker.gates["ping"] = asyncio.Event()
        async with serving(make_app(broker)) as client:
            probes = [asyncio.create_task(ask(client)) for _ in range(200)]
            await asyncio.sleep(0.5)  # virtual: all of them ask, and none has waited too long
            assert not any(probe.done() for probe in probes)
            gate.set()
            assert await asyncio.gather(*probes) == [(200, {"status": "pass"})] * 200
        assert broker.calls["ping"] == 1

    run_virtual(scenario)


def test_a_hanging_ping_answers_503_in_a_second_and_is_asked_once(
    broker: ScriptedBroker,
) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        broker.gates["ping"] = asyncio.Event()
        late = (503, {"status": "fail", "error": "timeout"})
        async with serving(make_app(broker)) as client:
            started = loop.time()
            assert await asyncio.gather(*(ask(client) for _ in range(50))) == [late] * 50
            assert loop.time() - started < 1.0
            started = loop.time()
            assert await ask(client) == late
            assert loop.time() - started < 1.0
            assert broker.calls["ping"] == 1
            broker.gates["ping"].set()
            await eventually(lambda: not library_pings())
            assert await ask(client) == (200, {"status": "pass"})
            assert broker.calls["ping"] == 1

    run_virtual(scenario)


def library_pings() -> list[str]:
    return [one.get_name() for one in asyncio.all_tasks() if one.get_name() == "mqtransport ping"]


async def test_a_ping_that_hangs_at_the_end_is_ended_with_the_lifespan(
    broker: ScriptedBroker,
) -> None:
    broker.gates["ping"] = asyncio.Event()
    async with asyncio.timeout(5):
        async with serving(make_app(broker)) as client:
            assert (await ask(client))[0] == 503
    assert library_pings() == []


async def test_a_cancelled_prober_does_not_hurt_the_others(broker: ScriptedBroker) -> None:
    gate = broker.gates["ping"] = asyncio.Event()
    broker.entered["ping"] = asyncio.Event()
    async with serving(make_app(broker)) as client:
        first = asyncio.create_task(ask(client))
        async with asyncio.timeout(5):
            await broker.entered["ping"].wait()
            others = [asyncio.create_task(ask(client)) for _ in range(5)]
            await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            gate.set()
            assert await asyncio.gather(*others) == [(200, {"status": "pass"})] * 5
    assert broker.calls["ping"] == 1


# -- how long an answer is kept ----------------------------------------------------------


async def test_a_good_answer_is_kept_for_5_s(broker: ScriptedBroker, clock: HandClock) -> None:
    async with clocked(broker, clock) as (client, _):
        for now, calls in ((0.0, 1), (4.99, 1), (5.01, 2), (5.02, 2)):
            clock.now = 1000.0 + now
            assert await ask(client) == (200, {"status": "pass"})
            assert broker.calls["ping"] == calls


async def test_a_bad_answer_is_kept_for_1_s_and_recovers_by_itself(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock) as (client, _):
        broker.errors["ping"] = BrokerUnavailableError("scripted: down")
        bad = (503, {"status": "fail", "error": "unreachable"})
        for now, calls in ((0.0, 1), (0.99, 1), (1.01, 2)):
            clock.now = 1000.0 + now
            assert await ask(client) == bad
            assert broker.calls["ping"] == calls
        broker.errors.clear()
        clock.now += 0.5
        assert await ask(client) == bad
        clock.now += 0.6
        assert await ask(client) == (200, {"status": "pass"})


async def test_the_health_check_of_an_app_reads_the_apps_clock(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async def create() -> MQApp:
        await broker.connect()
        return MQApp(broker, clock=clock)

    app = FastAPI()
    FastMQ(app, create=create)
    async with serving(app) as client:
        await ask(client)
        calls = broker.calls["ping"]
        clock.now += 6
        await ask(client)
        assert broker.calls["ping"] == calls + 1


async def test_a_good_send_counts_as_a_ping(broker: ScriptedBroker) -> None:
    async with serving(make_app(broker)) as client:
        assert (await client.post("/orders")).status_code == 200
        assert await ask(client) == (200, {"status": "pass"})
    assert broker.calls["ping"] == 0


async def test_a_good_send_counts_as_a_ping_for_5_s(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock) as (client, app):
        mq_app: MQApp = app.state.mq
        assert (await client.post("/orders")).status_code == 200
        for now, calls in ((4.99, 0), (5.01, 1)):
            clock.now = 1000.0 + now
            await mq_app.ping()
            assert broker.calls["ping"] == calls


async def test_a_good_send_counts_no_longer_once_a_call_failed(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock) as (client, app):
        mq_app: MQApp = app.state.mq
        assert (await client.post("/orders")).status_code == 200
        await mq_app.ping()
        assert broker.calls["ping"] == 0
        clock.now += 1
        broker.errors["send"] = QueueNotFoundError("scripted: gone", queue="orders")
        broker.errors["ping"] = BrokerUnavailableError("scripted: down")
        assert (await client.post("/orders")).status_code == 503
        with pytest.raises(BrokerUnavailableError):
            await mq_app.ping()
        assert broker.calls["ping"] == 1
        clock.now += 1
        broker.errors.clear()
        assert (await client.post("/orders")).status_code == 200
        await mq_app.ping()
        assert broker.calls["ping"] == 1


# -- the form of an answer ---------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_get_and_head_answer_with_type_and_no_store(
    broker: ScriptedBroker, path: str, method: str
) -> None:
    async with serving(make_app(broker)) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/health+json")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/health/mq", "/{tenant}/health"])
@pytest.mark.parametrize("root_path", ["", "/proxied"])
async def test_the_endpoints_are_found_below_prefixes(
    broker: ScriptedBroker, root_path: str, path: str
) -> None:
    app = FastAPI()
    mq = FastMQ(create=creating(broker))
    mq.producer("orders", Order)
    app.router.lifespan_context = mq.lifespan
    inner, outer = APIRouter(), APIRouter()
    inner.include_router(mq.health_router(path), prefix="/b")
    outer.include_router(inner, prefix="/{version}")
    app.include_router(outer)
    actual = path.format(tenant="acme")
    transport = ASGITransport(app, root_path=root_path)
    async with serving(app), AsyncClient(transport=transport, base_url="http://test") as client:
        for suffix in ("", "/live", "/ready"):
            found = await ask(client, f"{root_path}/v1/b{actual}{suffix}")
            assert found == (200, {"status": "pass"})
        assert (await client.get(f"/v1{actual}")).status_code == 404


async def test_other_requests_do_not_try_the_health_routes() -> None:
    tried: list[str] = []

    def matches(scope: dict[str, Any]) -> tuple[Match, dict[str, Any]]:
        tried.append(scope["path"])
        return Match.NONE, {}

    app = FastAPI()
    router = FastMQ().health_router()
    for route in router.routes:
        route.matches = matches
    app.include_router(router)
    app.post("/orders")(lambda: None)
    async with client_of(app) as client:
        assert (await client.post("/orders")).status_code == 200
        assert tried == []
        assert (await client.get("/health/mq/live")).status_code == 404
        assert "/health/mq/live" in tried


async def test_the_paths_can_be_moved(broker: ScriptedBroker) -> None:
    async with serving(make_app(broker, health_path="/internal/queues")) as client:
        assert (await client.get("/internal/queues/ready")).status_code == 200
        assert (await client.get("/health/mq")).status_code == 404


@pytest.mark.parametrize(
    ("error", "label"),
    [
        (BrokerUnavailableError, "unreachable"),
        (CredentialsError, "credentials"),
        (ThrottledError, "throttled"),
        (AccessDeniedError, "denied"),
        (QueueNotFoundError, "not_found"),
        (RefusedError, "refused"),
        (BrokerError, "error"),
    ],
)
async def test_no_body_holds_more_than_a_status_and_a_class(
    broker: ScriptedBroker, error: type[BrokerUnavailableError], label: str
) -> None:
    async with serving(make_app(broker, consume=True, settings={"send_timeout_s": 0.2})) as client:
        await eventually(lambda: broker.calls["receive"] > 0)
        for verb in ("ping", "send", "receive"):
            broker.errors[verb] = secretive(error)
        assert await ask(client) == (503, {"status": "fail", "error": label})
        answers = [await client.get(path) for path in PATHS]
        if error is not RefusedError:  # refusing a message is the code's fault: it raises
            answers.append(await client.post("/orders"))
        for answer in answers:
            text = answer.text + str(answer.headers)
            assert not [one for one in CANARIES if one in text]


async def test_a_ping_that_raises_something_foreign_is_a_failure_like_any_other(
    broker: ScriptedBroker,
) -> None:
    broker.errors["ping"] = OSError(" ".join(CANARIES))
    async with serving(make_app(broker)) as client:
        assert (await ask(client))[0] == 503


# -- live --------------------------------------------------------------------------------


async def test_live_never_calls_the_broker_and_survives_its_outage(broker: ScriptedBroker) -> None:
    async with serving(make_app(broker)) as client:
        broker.errors["ping"] = BrokerUnavailableError("scripted: down")
        broker.gates["ping"] = asyncio.Event()
        for _ in range(3):
            assert await ask(client, "/health/mq/live") == (200, {"status": "pass"})
        assert broker.calls["ping"] == 0


async def test_a_dead_channel_task_is_live_503_and_ready_503(
    broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(broker, consume=True)
    async with serving(app) as client:
        await eventually(lambda: broker.calls["receive"] > 0)
        broker.errors["receive"] = RuntimeError("a defect " + CANARIES[0])
        (channel,) = app.state.mq.consuming_channels
        await client.post("/orders")  # ends the open poll; the next one meets the defect
        await eventually(lambda: channel.failure is not None)
        for path in PATHS:
            assert await ask(client, path) == (503, {"status": "fail", "error": "channel_died"})
        assert broker.calls["ping"] == 0


async def test_a_wedged_channel_is_live_503(
    broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock()

    async def create() -> MQApp:
        await broker.connect()
        app = MQApp(broker, clock=clock)
        return app

    mq = FastMQ(create=create)

    @mq.consumer("orders")
    async def handle(order: Order) -> None: ...

    app = FastAPI()
    mq.init_app(app)
    broker.gates["receive"] = asyncio.Event()
    async with serving(app) as client:
        await eventually(lambda: broker.calls["receive"] > 0)
        assert await ask(client, "/health/mq/live") == (200, {"status": "pass"})
        clock.now += 51  # twice wait_s 20 and timeout_s 5, and one
        wedged = (503, {"status": "fail", "error": "channel_wedged"})
        assert [await ask(client, path) for path in PATHS] == [wedged] * 3


# -- ready -------------------------------------------------------------------------------


async def test_ready_is_503_while_draining(broker: ScriptedBroker) -> None:
    begun, finish = asyncio.Event(), asyncio.Event()
    mq = FastMQ(create=creating(broker))
    mq.producer("orders", Order)

    @mq.consumer("orders")
    async def handle(order: Order) -> None:
        begun.set()
        await finish.wait()

    app = FastAPI()
    mq.init_app(app)
    async with asyncio.timeout(10), serving(app) as client:
        mq_app: MQApp = app.state.mq
        producer = mq_app.producing_channels[0].producers[0]
        await producer.produce(id=1)
        await begun.wait()
        stopping = asyncio.create_task(mq_app.stop())
        await eventually(lambda: not mq_app.running)
        assert (await ask(client, "/health/mq/ready"))[0] == 503
        assert (await ask(client, "/health/mq/live"))[0] == 200
        finish.set()
        await stopping
        assert (await ask(client, "/health/mq/ready"))[0] == 503
        await mq_app.start()
        assert (await ask(client, "/health/mq/ready"))[0] == 200


@pytest.mark.parametrize(
    ("critical", "expected"),
    [
        (False, (200, {"status": "warn", "error": "unreachable"})),
        (True, (503, {"status": "fail", "error": "unreachable"})),
    ],
)
async def test_an_unreachable_broker_is_a_warning_unless_critical(
    broker: ScriptedBroker, critical: bool, expected: object
) -> None:
    async with serving(make_app(broker, broker_critical=critical)) as client:
        broker.errors["ping"] = BrokerUnavailableError("scripted: down")
        assert await ask(client, "/health/mq/ready") == expected


def test_a_hanging_broker_is_a_ready_warning_in_time(broker: ScriptedBroker) -> None:
    async def scenario() -> None:
        broker.gates["ping"] = asyncio.Event()
        async with serving(make_app(broker)) as client, asyncio.timeout(1.0):
            warning = (200, {"status": "warn", "error": "timeout"})
            assert await ask(client, "/health/mq/ready") == warning

    run_virtual(scenario)


@pytest.mark.parametrize(
    ("error", "label"), [(QueueNotFoundError, "not_found"), (AccessDeniedError, "denied")]
)
async def test_a_consumed_queue_that_vanished_is_ready_503(
    broker: ScriptedBroker, error: type[BrokerError], label: str
) -> None:
    app = make_app(broker, consume=True)
    async with serving(app) as client:
        await eventually(lambda: broker.calls["receive"] > 0)
        broker.errors["receive"] = error("scripted: gone", queue="orders")
        await client.post("/orders")
        (channel,) = app.state.mq.consuming_channels
        await eventually(lambda: channel.trouble.error is not None)
        assert await ask(client, "/health/mq/ready") == (503, {"status": "fail", "error": label})
        assert await ask(client, "/health/mq/live") == (200, {"status": "pass"})


async def test_bad_credentials_are_not_ready(broker: ScriptedBroker) -> None:
    """DESIGN 9: 'wrongly configured' is 503; only an unreachable broker is a warning."""
    async with serving(make_app(broker)) as client:
        broker.errors["ping"] = CredentialsError("scripted: wrong key")
        status, body = await ask(client, "/health/mq/ready")
        assert body["error"] == "credentials"
        assert status in (200, 503)  # undecided by the design: rotation mends it by itself


async def test_ready_recovers_from_a_fatal_send_without_another_send(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock) as (client, _):
        broker.errors["send"] = QueueNotFoundError("scripted: gone", queue="orders")
        assert (await client.post("/orders")).status_code == 503
        assert (await ask(client, "/health/mq/ready"))[0] == 503
        broker.errors.clear()  # the operator has made the queue again
        clock.now += 600
        assert (await ask(client, "/health/mq/ready"))[0] == 200


async def test_the_report_recovers_from_a_failed_send_without_another_send(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock) as (client, app):
        # What a failed send leaves behind; a real one may be tried again just as we look.
        app.state.mq.producing_channels[0].trouble.bad(BrokerUnavailableError("scripted: down"))
        clock.now += 600
        assert await ask(client) == (200, {"status": "pass"})


async def test_acks_that_fail_are_a_warning_that_a_good_ping_does_not_end(
    broker: ScriptedBroker, clock: HandClock
) -> None:
    async with clocked(broker, clock, consume=True) as (client, app):
        assert await ask(client) == (200, {"status": "pass"})
        clock.now += 1
        trouble = app.state.mq.consuming_channels[0].settle_trouble
        trouble.bad(BrokerUnavailableError("scripted: down"))
        assert await ask(client) == (200, {"status": "warn", "error": "unreachable"})
        clock.now += 6
        # The broker answers; that acks work again is not proven by that.
        assert await ask(client) == (200, {"status": "warn", "error": "unreachable"})


async def test_failing_dead_letters_are_a_warning(broker: ScriptedBroker) -> None:
    mq = FastMQ(create=creating(broker))
    mq.producer("orders", Order)

    @mq.consumer("orders", dead_letter="orders-dlq")
    async def handle(order: Order) -> None:
        from fastapi_mq import ConsumeMessageError

        raise ConsumeMessageError("never")

    real = broker.send

    async def send(queue: str, batch: Any) -> Any:
        if queue == "orders-dlq":
            return [RefusedError("scripted: no", queue=queue) for _ in batch]
        return await real(queue, batch)

    broker.send = send  # type: ignore[method-assign]
    app = FastAPI()
    mq.init_app(app)
    async with serving(app) as client:
        await app.state.mq.producing_channel("orders").producer("Order").send(Order(id=1))
        (channel,) = app.state.mq.consuming_channels
        await eventually(lambda: channel.dead_letter_failures > 0)
        expected = (200, {"status": "warn", "error": "dead_letter_failed"})
        assert await ask(client) == expected
        assert await ask(client, "/health/mq/ready") == expected


# -- outside the lifespan ----------------------------------------------------------------


async def test_health_after_the_lifespan_ended(broker: ScriptedBroker) -> None:
    app = make_app(broker)
    async with serving(app) as client:
        check: HealthCheck = app.state.mq_health
        assert (await ask(client))[0] == 200
    assert (await check.report()).status == "fail"
    assert (await check.ready()).status == "fail"
    assert check.live().status == "pass"


async def test_channels_that_stopped_without_the_lifespan_are_not_dead(
    broker: ScriptedBroker,
) -> None:
    app = make_app(broker, consume=True)
    async with serving(app) as client:
        await app.state.mq.stop()
        assert await ask(client, "/health/mq/live") == (200, {"status": "pass"})
        assert (await ask(client, "/health/mq/ready"))[0] == 503
