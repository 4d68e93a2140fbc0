"""What needs an operator is red and asked for seldom; rotated credentials need no restart."""

import asyncio
import itertools
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from fastapi_mq.health import Health, HealthCheck
from mqtransport import MQApp
from mqtransport.clock import SystemClock
from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    BrokerUnavailableError,
    CredentialsError,
    QueueNotFoundError,
    ThrottledError,
)
from mqtransport.message import Attribute, RawDelivery
from mqtransport.testing.proxy import FaultProxy, ModeName
from mqtransport.testing.sqs_double import SQSDouble
from tests.contract.support import check_balanced
from tests.faults.journal import Items, Journal
from tests.faults.support import Recorder, app_on, check_alive, check_ended, until
from tests.unit.channel.fakes import Call, ScriptedBroker, Slow, virtually

HOUR_S = 3600


class ShiftedClock(SystemClock):
    """The machine's clock, and so many seconds more."""

    shift_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_s

    def time(self) -> float:
        return super().time() + self.shift_s


async def becomes(check: HealthCheck, wanted: Health) -> None:
    """Ask until readiness says so; live passes all the while."""
    found: Health | None = None
    async with asyncio.timeout(30):
        while found != wanted:
            await asyncio.sleep(0.05)
            found = await check.ready()
            assert check.live().status == "pass"


async def test_a_queue_deleted_under_a_running_app_turns_it_red_until_it_is_back(
    journal: Journal,
) -> None:
    clock = ShiftedClock()
    async with SQSDouble(clock=clock, seed=1) as double, app_on(double.url) as app:
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel("items")
        channel.add_consumer(Recorder(journal))
        check = HealthCheck(app)
        await app.start()
        assert await journal.send(producer, "before")
        await until(lambda: journal.handled["before"] == 1, lambda: journal, within_s=10.0)

        double.store.delete(double.store.get("items"))
        await becomes(check, Health("fail", "not_found"))
        assert not await journal.send(producer, "meanwhile", most=1)
        assert journal.raised["meanwhile"] == ["not_sent"]

        clock.shift_s = 61.0  # SQS gives a name again after 60 s
        double.create_queue("items")
        double.wake()
        assert await journal.send(producer, "after")
        await until(lambda: journal.handled["after"] == 1, lambda: journal, within_s=30.0)
        await becomes(check, Health("pass"))
        await check.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items")
        journal.check()


Deny = Callable[[FaultProxy, SQSDouble], None]


def _refused(mode: ModeName) -> Deny:
    def deny(proxy: FaultProxy, double: SQSDouble) -> None:
        proxy.add("*", mode=mode)

    return deny


def _no_key(code: str) -> Deny:
    # The double knows no KMS and answers such a code with status 500; the code decides.
    def deny(proxy: FaultProxy, double: SQSDouble) -> None:
        for action in ("ReceiveMessage", "SendMessageBatch"):
            double.throttle(action, 1000, code=code)

    return deny


@pytest.mark.parametrize(
    "deny",
    [
        pytest.param(_refused("access_denied"), id="access_denied"),
        pytest.param(_refused("access_denied_exception"), id="access_denied_exception"),
        pytest.param(_refused("access_denied_xml"), id="access_denied_xml"),
        pytest.param(_no_key("KmsAccessDenied"), id="KmsAccessDenied"),
        pytest.param(_no_key("KMS.DisabledException"), id="KMS.DisabledException"),
    ],
)
async def test_denied_access_turns_readiness_red_and_permission_mends_it(
    deny: Deny, journal: Journal
) -> None:
    async with (
        SQSDouble(seed=1) as double,
        FaultProxy(double.url) as proxy,
        app_on(proxy.url, random=Random(1)) as app,
    ):
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel("items")
        channel.add_consumer(Recorder(journal))
        check = HealthCheck(app)
        await app.start()
        assert await journal.send(producer, "before")
        await until(lambda: journal.handled["before"] == 1, lambda: journal, within_s=10.0)

        deny(proxy, double)
        await becomes(check, Health("fail", "denied"))
        # A caller gets the reason at once, instead of waiting for the timeout.
        async with asyncio.timeout(5.0):
            assert not await journal.send(producer, "meanwhile", most=1)
        assert journal.raised["meanwhile"] == ["not_sent"]

        proxy.clear()
        double.clear_faults()
        assert await journal.send(producer, "after")
        await until(lambda: journal.handled["after"] == 1, lambda: journal, within_s=30.0)
        await becomes(check, Health("pass"))
        await check.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items")
        journal.check()


async def test_acks_that_are_denied_turn_readiness_red_and_rerun_nothing(
    journal: Journal,
) -> None:
    async with (
        SQSDouble(seed=1) as double,
        FaultProxy(double.url) as proxy,
        app_on(proxy.url, lease_s=1.0, random=Random(1)) as app,
    ):
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel("items")
        channel.add_consumer(Recorder(journal))
        check = HealthCheck(app)
        denied = proxy.add("DeleteMessageBatch", mode="access_denied")
        await app.start()
        assert await journal.send(producer, "1")
        await becomes(check, Health("fail", "denied"))
        await until(lambda: denied.hits >= 3, lambda: denied.hits, within_s=30.0)
        proxy.clear()
        await until(
            lambda: double.counts("items") == (0, 0, 0), lambda: channel.counts, within_s=30.0
        )
        await becomes(check, Health("pass"))
        assert journal.handled == {"1": 1}
        await check.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)


@pytest.mark.parametrize("source", ["environment", "file"])
async def test_rotated_credentials_are_taken_up_without_a_restart(
    source: str, journal: Journal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"

    def rotate(key: str) -> None:
        if source == "environment":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        else:
            credentials.write_text(
                f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
            )

    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    rotate("first")
    clock = ShiftedClock()
    async with (
        SQSDouble(seed=1, expected_access_key="first") as double,
        app_on(
            double.url, keys=None, broker_clock=clock, send_timeout_s=2.0, random=Random(1)
        ) as app,
    ):
        double.create_queue("items")
        out = await app.create_producing_channel("items")
        out.add_producer(producer := Items())
        channel = await app.create_consuming_channel("items")
        channel.add_consumer(Recorder(journal))
        check = HealthCheck(app)
        await app.start()
        assert await journal.send(producer, "before")
        await until(lambda: journal.handled["before"] == 1, lambda: journal, within_s=10.0)

        double.expected_access_key = "second"
        # Not red: other pods have the same keys, and nobody is served better without this one.
        await becomes(check, Health("warn", "credentials"))
        assert not await journal.send(producer, "meanwhile", most=1)
        assert journal.raised["meanwhile"] == ["not_sent"]

        rotate("second")
        clock.shift_s = 31.0  # the chain is looked up again at most every 30 s
        assert await journal.send(producer, "after", most=5)
        await until(lambda: journal.handled["after"] == 1, lambda: journal, within_s=60.0)
        await becomes(check, Health("pass"))
        await check.aclose()
        check_alive(app)
        await app.stop(timeout=3)
        check_ended(app)
        journal.look(double, "items")
        journal.check()


# -- an hour, in virtual time -------------------------------------------------------------------


async def an_hour(
    broker: ScriptedBroker, journal: Journal, *, keys: int = 1
) -> list[tuple[str, str]]:
    """Run an app with a buffering channel for an hour; return what health said, each minute."""
    app = MQApp(broker, clock=broker.clock, random=Random(1))
    out = await app.create_producing_channel("items", confirm=False)
    out.add_producer(producer := Items())
    channel = await app.create_consuming_channel("items")
    channel.add_consumer(Recorder(journal))
    check = HealthCheck(app)
    await app.start()
    for n in range(keys):
        await producer.produce(key=str(n))
    said: list[tuple[str, str]] = []
    for _ in range(60):
        await asyncio.sleep(HOUR_S / 60)
        said.append((check.live().status, (await check.ready()).status))
    check_alive(app)
    await check.aclose()
    await app.shutdown(timeout=3)
    check_balanced(channel.counts)
    return said


@pytest.mark.parametrize("error", [AccessDeniedError("denied"), QueueNotFoundError("missing")])
@virtually
async def test_what_needs_an_operator_is_red_and_asked_for_once_a_minute(
    error: BrokerError,
) -> None:
    broker = ScriptedBroker()
    broker.standing["receive"] = broker.standing["send"] = error
    said = await an_hour(broker, Journal())
    assert set(said) == {("pass", "fail")}
    for verb in ("receive", "send"):
        times = [call.at for call in broker.of(verb) if call.at < HOUR_S]
        assert 55 <= len(times) <= 65, (verb, len(times))
        late = [later - earlier for earlier, later in itertools.pairwise(times) if later > 120]
        assert min(late) > 59, (verb, min(late))


@contextmanager
def trouble_lines() -> Iterator[dict[tuple[str, str], list[float]]]:
    """Collect when trouble was logged, by whose it was and by the class of its error."""
    found: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    class Collects(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.msg == "%s: %s; trying again" and isinstance(record.args, tuple):
                label, error = record.args
                now = asyncio.get_running_loop().time()
                found[str(label), type(error).__name__].append(now)

    logger, handler = logging.getLogger("mqtransport"), Collects(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield found
    finally:
        logger.removeHandler(handler)


@virtually
async def test_the_same_trouble_is_logged_once_a_minute_per_class_of_error() -> None:
    classes = (BrokerUnavailableError, ThrottledError, CredentialsError)
    numbers = itertools.count()

    def fail(call: Call) -> None:
        raise classes[next(numbers) % 3](f"{call.verb} failed")

    def fail_or_deliver(call: Call) -> list[RawDelivery]:
        number = next(numbers)
        if number % 4:
            fail(call)
        body = json.dumps({"key": str(number)})
        name = {"Name": Attribute("String", "item"), "Compression": Attribute("String", "off")}
        return [RawDelivery(f"id-{number}", f"receipt-{number}", body, name, 1)]

    broker = ScriptedBroker(most_calls=50_000)
    broker.standing["receive"] = Slow(2.0, fail_or_deliver)
    for verb in ("send", "ack", "extend", "ping"):
        broker.standing[verb] = fail
    with trouble_lines() as lines:
        await an_hour(broker, Journal(), keys=10)
    labels = {label for label, _ in lines}
    assert labels == {
        "producing channel 'items'",
        "consuming channel 'items'",
        "consuming channel 'items' (settling)",
    }
    assert len(lines) == len(labels) * len(classes), lines.keys()
    for told, times in lines.items():
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert len(times) > 10, (told, times)
        assert min(gaps) >= 60, (told, min(gaps))
