"""Settings: what each variable means, what is refused, and that secrets stay secret."""

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mqtransport import MQApp
from mqtransport.errors import ConfigurationError, MQTransportError
from mqtransport.settings import MQSettings, queue_key

CANARY = "cAnArY-7f3a"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("MQ_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("MQ_URL", "sqs://eu-west-1", "url", "sqs://eu-west-1"),
        ("MQ_BROKER", "sqs", "broker", "sqs"),
        ("MQ_REGION", "eu-west-1", "region", "eu-west-1"),
        ("MQ_SQS_FAST_PATH", "0", "sqs_fast_path", False),
        ("MQ_QUEUE_PREFIX", "test-", "queue_prefix", "test-"),
        ("MQ_CREATE_QUEUES", "1", "create_queues", True),
        ("MQ_CONFIRM", "0", "confirm", False),
        ("MQ_CONCURRENCY", "1", "concurrency", 1),
        ("MQ_PREFETCH", "3", "prefetch", 3),
        ("MQ_WAIT_S", "0", "wait_s", 0.0),
        ("MQ_LEASE_S", "60", "lease_s", 60.0),
        ("MQ_MAX_PROCESSING_S", "12.5", "max_processing_s", 12.5),
        ("MQ_SEND_TIMEOUT_S", "3", "send_timeout_s", 3.0),
        ("MQ_STOP_TIMEOUT_S", "9", "stop_timeout_s", 9.0),
        ("mq_region", "eu-west-1", "region", "eu-west-1"),
    ],
)
def test_a_variable_sets_its_field(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(MQSettings(), field) == value


def test_credentials_come_as_a_pair_of_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQ_USERNAME", "AKIA")
    monkeypatch.setenv("MQ_PASSWORD", CANARY)
    settings = MQSettings()
    assert settings.username == SecretStr("AKIA")
    assert settings.password == SecretStr(CANARY)


def test_without_any_variable_the_defaults_are_the_designs() -> None:
    settings = MQSettings()
    assert (settings.url, settings.broker, settings.region) == (None, None, None)
    assert (settings.username, settings.password) == (None, None)
    receive, send = settings.receive_options(), settings.send_options()
    assert (receive.concurrency, receive.prefetch, receive.lease_s) == (10, 0, 30.0)
    assert receive.max_processing_s == 300.0
    assert (send.confirm, send.send_timeout_s) == (True, 10.0)
    assert settings.stop_timeout_s == 25.0


@pytest.mark.parametrize(
    ("present", "missing"), [("MQ_USERNAME", "MQ_PASSWORD"), ("MQ_PASSWORD", "MQ_USERNAME")]
)
def test_half_a_credential_pair_names_the_other_half_and_no_value(
    monkeypatch: pytest.MonkeyPatch, present: str, missing: str
) -> None:
    monkeypatch.setenv(present, CANARY)
    with pytest.raises(ConfigurationError, match=f"^{missing} is missing") as caught:
        MQSettings()
    assert_no_canary(caught.value)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*MQSettings.model_fields, "queue_orders"):
        monkeypatch.setenv(f"MQ_{name.upper()}", "")
    settings = MQSettings()
    assert settings == MQSettings.model_construct(**dict(settings))
    assert not settings.model_fields_set
    assert settings.physical_queue("orders") == "orders"


def test_an_empty_half_of_the_pair_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQ_USERNAME", "AKIA")
    monkeypatch.setenv("MQ_PASSWORD", "")
    with pytest.raises(ConfigurationError, match="MQ_PASSWORD is missing"):
        MQSettings()


# -- queue names ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("MQ_QUEUE_ORDERS", "orders"),
        ("MQ_QUEUE_ORDERS", "Orders"),
        ("MQ_QUEUE_ORDERS_DLQ", "orders-dlq"),
        ("MQ_QUEUE_ORDERS_DLQ", "orders_dlq"),
        ("MQ_QUEUE_ORDERS_FIFO", "orders.fifo"),
        ("MQ_QUEUE_A_B_C_9", "a.b-c_9"),
        ("mq_queue_orders", "ORDERS"),
        ("Mq_Queue_Orders_Dlq", "orders-dlq"),
    ],
)
def test_a_variable_maps_a_queue_to_its_physical_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, name: str
) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/1/Prod-Orders"
    monkeypatch.setenv(variable, url)
    monkeypatch.setenv("MQ_QUEUE_PREFIX", "test-")
    settings = MQSettings()
    assert settings.physical_queue(name) == url
    assert settings.physical_queue("others") == "test-others"


@pytest.mark.parametrize("physical", ["123", "true", "[]", '{"a": 1}', "null"])
def test_a_physical_name_that_looks_like_json_stays_text(
    monkeypatch: pytest.MonkeyPatch, physical: str
) -> None:
    monkeypatch.setenv("MQ_QUEUE_ORDERS", physical)
    assert MQSettings().physical_queue("orders") == physical


def test_queue_names_may_be_given_as_an_argument() -> None:
    settings = MQSettings(queues={"orders-dlq": "dead"})
    assert settings.physical_queue("orders-dlq") == "dead"
    assert settings.physical_queue("Orders.DLQ") == "dead"


def test_a_queue_of_the_arguments_and_one_of_the_environment_are_both_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MQ_QUEUE_A", "from-environment")
    settings = MQSettings(queues={"b": "from-argument"})
    assert settings.physical_queue("a") == "from-environment"
    assert settings.physical_queue("b") == "from-argument"


@pytest.mark.parametrize(
    "name",
    [
        "my_queue",
        pytest.param(
            "my-queue",
        ),
    ],
)
def test_a_queue_given_as_an_argument_wins_over_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MQ_QUEUE_MY_QUEUE", "from-environment")
    assert MQSettings(queues={name: "from-argument"}).physical_queue(name) == "from-argument"


def test_a_dotenv_file_is_read_and_the_environment_wins_over_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "MQ_REGION=eu-west-1\nMQ_QUEUE_A=a-file\nMQ_QUEUE_B_C=b-file\nmq_concurrency=3\nOTHER=1\n"
    )
    monkeypatch.setenv("MQ_QUEUE_A", "a-environment")
    settings = MQSettings(_env_file=file)
    assert (settings.region, settings.concurrency) == ("eu-west-1", 3)
    assert settings.physical_queue("a") == "a-environment"
    assert settings.physical_queue("b-c") == "b-file"


@pytest.mark.parametrize(
    ("name", "key"), [("a-b.c_D9", "a_b_c_d9"), ("Ünï", "_n_"), ("", ""), ("a b", "a_b")]
)
def test_queue_keys(name: str, key: str) -> None:
    assert queue_key(name) == key


# -- mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("MQ_CONCURENCY", "MQ_CONCURRENCY"),
        ("MQ_PASWORD", "MQ_PASSWORD"),
        ("MQ_REGOIN", "MQ_REGION"),
        ("MQ_QUEUEPREFIX", "MQ_QUEUE_PREFIX"),
    ],
)
def test_an_unknown_variable_is_warned_of_with_what_was_meant(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variable: str,
    meant: str,
) -> None:
    monkeypatch.setenv(variable, CANARY)
    with caplog.at_level(logging.WARNING):
        MQSettings()
    assert variable in caplog.text
    assert f"did you mean {meant}?" in caplog.text
    assert CANARY not in caplog.text


def test_known_and_foreign_variables_are_not_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for variable in ("MQ_REGION", "MQ_QUEUE_PREFIX", "MQ_QUEUE_ORDERS", "XMQ_FOO", "MQFOO"):
        monkeypatch.setenv(variable, "x")
    MQSettings()
    assert caplog.text == ""


async def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        await MQApp.connect(concurency=3)


@pytest.mark.parametrize(
    "variable",
    [
        "MQ_CONCURRENCY",
        "MQ_PREFETCH",
        "MQ_WAIT_S",
        "MQ_LEASE_S",
        "MQ_MAX_PROCESSING_S",
        "MQ_SEND_TIMEOUT_S",
        "MQ_STOP_TIMEOUT_S",
        "MQ_CONFIRM",
        "MQ_SQS_FAST_PATH",
        "MQ_CREATE_QUEUES",
        pytest.param(
            "MQ_QUEUES",
        ),
    ],
)
def test_a_bad_value_is_refused_by_the_variables_name_without_the_value(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, CANARY)
    with pytest.raises(ConfigurationError, match=variable) as caught:
        MQSettings()
    assert_no_canary(caught.value)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("MQ_CONCURRENCY", "0"),
        ("MQ_CONCURRENCY", "-1"),
        ("MQ_CONCURRENCY", "1.5"),
        ("MQ_PREFETCH", "-1"),
        ("MQ_WAIT_S", "-1"),
        ("MQ_WAIT_S", "true"),
        ("MQ_WAIT_S", "nan"),
        ("MQ_LEASE_S", "0"),
        ("MQ_LEASE_S", "0.5"),
        ("MQ_LEASE_S", "inf"),
        ("MQ_MAX_PROCESSING_S", "0"),
        ("MQ_SEND_TIMEOUT_S", "0"),
        ("MQ_STOP_TIMEOUT_S", "-1"),
        *(pytest.param(variable, "inf") for variable in ("MQ_WAIT_S", "MQ_STOP_TIMEOUT_S")),
    ],
)
def test_a_value_out_of_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(ConfigurationError, match=variable):
        MQSettings()


@pytest.mark.parametrize("values", [{"lease_s": True}, {"wait_s": False}, {"concurrency": "x"}])
def test_a_bad_argument_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MQSettings(**values)


# -- precedence, secrets, import ------------------------------------------------------------


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQ_CONCURRENCY", "3")
    monkeypatch.setenv("MQ_REGION", "eu-west-1")
    settings = MQSettings(concurrency=4)
    assert (settings.concurrency, settings.region) == (4, "eu-west-1")


async def test_options_of_connect_win_over_a_settings_object() -> None:
    settings = MQSettings(concurrency=3, prefetch=2)
    app = await MQApp.connect("memory://", settings=settings, concurrency=4)
    assert (app.settings.concurrency, app.settings.prefetch) == (4, 2)
    await app.shutdown()


def test_settings_are_read_when_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQ_REGION", "eu-west-1")
    first = MQSettings()
    monkeypatch.setenv("MQ_REGION", "eu-west-2")
    assert (first.region, MQSettings().region) == ("eu-west-1", "eu-west-2")


def test_import_reads_no_setting() -> None:
    code = (
        "import mqtransport, mqtransport.settings, os\n"
        "os.environ['MQ_REGION'] = 'later'; del os.environ['MQ_CONCURRENCY']\n"
        "print(mqtransport.MQSettings().region)"
    )
    environment = {**os.environ, "MQ_CONCURRENCY": "broken", "MQ_REGION": "earlier"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("later", "")


def test_secrets_stand_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MQ_USERNAME", f"u-{CANARY}")
    monkeypatch.setenv("MQ_PASSWORD", f"p-{CANARY}")
    monkeypatch.setenv("MQ_URL", f"https://user:{CANARY}@host")
    monkeypatch.setenv("MQ_QUEUE_ORDERS", f"https://host/{CANARY}")
    settings = MQSettings()
    for text in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert CANARY not in text
    assert CANARY not in repr((settings.username, settings.password))
    assert CANARY not in str(MQSettings.model_json_schema())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        MQSettings().region = "x"


def assert_no_canary(error: MQTransportError) -> None:
    assert CANARY not in str(error)
    assert CANARY not in repr(error)
    assert CANARY not in "".join(traceback.format_exception(error))
