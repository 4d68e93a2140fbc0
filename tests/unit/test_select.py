"""Which broker the settings name, and with which options."""

import logging
import os
import traceback
from random import Random
from typing import Any

import pytest
from pydantic import SecretStr

import mqtransport.brokers.sqs
from mqtransport import MQApp, SQSApp
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.clock import SystemClock
from mqtransport.errors import ConfigurationError
from mqtransport.select import make_broker
from mqtransport.settings import MQSettings

CANARY = "cAnArY-7f3a"
CLOCK = SystemClock()


class RecordingSQSBroker:
    def __init__(self, **options: Any) -> None:
        self.options = options

    async def connect(self) -> None: ...

    async def aclose(self) -> None: ...


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(("MQ_", "AWS_")):
            monkeypatch.delenv(name)


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtransport.brokers.sqs, "SQSBroker", RecordingSQSBroker)


def made(**settings: Any) -> Any:
    return make_broker(MQSettings(**settings), clock=CLOCK, random=Random(1))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"url": "memory://"},
        {"url": "MEMORY://"},
        {"broker": "memory"},
        {"url": "memory://", "broker": "memory"},
        {"url": "memory://", "region": "eu-west-1"},
    ],
)
def test_the_memory_broker_is_made(settings: dict[str, str]) -> None:
    assert isinstance(made(**settings), MemoryBroker)


def test_the_embedded_default_is_said_in_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "memory broker" in caplog.text


def test_a_chosen_memory_broker_is_not_remarked_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made(url="memory://")
    assert caplog.text == ""


@pytest.mark.usefixtures("sqs")
@pytest.mark.parametrize(
    ("settings", "region", "endpoint_url"),
    [
        ({"broker": "sqs"}, None, None),
        ({"broker": "sqs", "region": "eu-west-1"}, "eu-west-1", None),
        ({"url": "sqs://"}, None, None),
        ({"url": "SQS://eu-west-1"}, "eu-west-1", None),
        ({"url": "sqs://eu-west-1"}, "eu-west-1", None),
        ({"url": "sqs://eu-west-1/"}, "eu-west-1", None),
        ({"url": "sqs://eu-west-1", "broker": "sqs"}, "eu-west-1", None),
        ({"url": "sqs://eu-west-1", "region": "eu-west-1"}, "eu-west-1", None),
        ({"url": "sqs://", "region": "eu-west-2"}, "eu-west-2", None),
        (
            {"url": "sqs://?endpoint_url=http://localhost:9324"},
            None,
            "http://localhost:9324",
        ),
        (
            {"url": "sqs://eu-west-1?endpoint_url=http%3A%2F%2Flocalhost%3A9324"},
            "eu-west-1",
            "http://localhost:9324",
        ),
        (
            {"url": "http://localhost:9324", "broker": "sqs", "region": "eu-west-1"},
            "eu-west-1",
            "http://localhost:9324",
        ),
        (
            {"url": "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com", "broker": "sqs"},
            None,
            "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
        ),
    ],
)
def test_the_right_options_reach_the_sqs_driver(
    settings: dict[str, str], region: str | None, endpoint_url: str | None
) -> None:
    broker = made(**settings, username="AKIA", password="secret")
    assert broker.options == {
        "region": region,
        "endpoint_url": endpoint_url,
        "access_key": SecretStr("AKIA"),
        "secret_key": SecretStr("secret"),
        "fast_path": True,
        "clock": CLOCK,
    }


@pytest.mark.usefixtures("sqs")
def test_the_fast_path_can_be_switched_off_by_a_setting() -> None:
    assert made(url="sqs://eu-west-1", sqs_fast_path=False).options["fast_path"] is False


@pytest.mark.usefixtures("sqs")
def test_without_credentials_the_sqs_driver_gets_none() -> None:
    options = made(url="sqs://eu-west-1").options
    assert options["access_key"] is options["secret_key"] is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://localhost:9324"}, "MQ_BROKER=sqs"),
        ({"url": "https://localhost", "broker": "memory"}, "MQ_BROKER=sqs"),
        ({"url": "localhost:9324"}, "no scheme"),
        ({"url": "localhost"}, "no scheme"),
        ({"url": ""}, "no scheme"),
        ({"url": " "}, "no scheme"),
        ({"url": "sqs:eu-west-1"}, "no scheme"),
        ({"url": "//eu-west-1"}, "no scheme"),
        ({"url": "amqp://localhost"}, "unknown broker 'amqp'"),
        ({"url": "kafka://localhost:9092"}, "sqlite:///file.db and sqs://"),
        ({"url": "sqs://eu-west-1", "broker": "memory"}, "drop one"),
        ({"url": "memory://", "broker": "sqs"}, "drop one"),
        ({"url": "sqs://eu-west-1", "region": "eu-west-2"}, "drop one"),
        ({"url": "sqs://eu-west-1/orders"}, "one option"),
        ({"url": "sqs://eu-west-1?endpoint=http://x"}, "one option"),
        ({"url": "sqs://?endpoint_url=http://a&endpoint_url=http://b"}, "one option"),
        ({"url": "sqlite:///a#b.db"}, "%23"),
        ({"url": "sqlite:///a%00b.db"}, "zero byte"),
        ({"url": "sqs://[::1"}, "no URL"),
        ({"url": "http://host:port", "broker": "sqs"}, "no URL"),
        ({"broker": "kafka"}, "memory and sqs, and sqlite with MQ_URL="),
        ({"region": "eu-west-1"}, "MQ_BROKER=sqs"),
        ({"username": "a", "password": "b"}, "MQ_BROKER=sqs"),
    ],
)
def test_what_cannot_be_right_is_refused_with_a_hint(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said.replace("(", r"\(")):
        made(**settings)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@localhost:9324",
        f"https://{CANARY}@localhost",
        f"sqs://user:{CANARY}@eu-west-1",
        f"memory://:{CANARY}@",
        f"amqp://user:{CANARY}@host",
        f"sqs://?endpoint_url=http://user:{CANARY}@host",
        f"sqs://eu-west-1?password={CANARY}",
        f"http://user:{CANARY}@[::1",
        f"http://host:{CANARY}",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(url=url, broker="sqs" if url.startswith("http") else None)
    assert CANARY not in str(caught.value)


def test_a_url_error_shows_no_credentials_in_its_traceback() -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(url=f"http://user:{CANARY}@host:{CANARY}", broker="sqs")
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("url", ["memory://orders", "memory://?a=b", "memory:///path"])
def test_a_memory_url_with_something_behind_it_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        made(url=url)


# -- through the app ------------------------------------------------------------------------


async def test_a_url_given_to_connect_silences_the_broker_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQ_BROKER", "sqs")
    app = await MQApp.connect("memory://")
    assert isinstance(app.broker, MemoryBroker)
    await app.shutdown()


@pytest.mark.usefixtures("sqs")
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9324",
        pytest.param(
            "HTTP://localhost:9324",
        ),
    ],
)
async def test_a_plain_endpoint_given_to_connect_keeps_the_broker_variable(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("MQ_BROKER", "sqs")
    app: Any = await MQApp.connect(url)
    assert app.broker.options["endpoint_url"] == url
    await app.shutdown()


@pytest.mark.usefixtures("sqs")
@pytest.mark.parametrize("url", [None, "http://localhost:9324", "sqs://eu-west-1"])
async def test_sqs_app_is_on_sqs_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setenv("MQ_BROKER", "memory")
    app: Any = await SQSApp.create("AKIA", "secret", "eu-west-1", url)
    assert isinstance(app, SQSApp)
    assert app.broker.options["region"] == "eu-west-1"
    assert app.broker.options["access_key"] == SecretStr("AKIA")
    await app.shutdown()


async def test_sqs_app_refuses_the_url_of_another_broker() -> None:
    with pytest.raises(ConfigurationError):
        await SQSApp.create(url="memory://")


async def test_sqs_app_refuses_half_a_credential_pair() -> None:
    with pytest.raises(ConfigurationError, match="MQ_PASSWORD is missing"):
        await SQSApp.create("AKIA", region="eu-west-1")
