"""What the SQS driver is given: checked at construction, completed when connecting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from pydantic import SecretStr

from mqtransport.brokers.sqs import SQSBroker
from mqtransport.brokers.sqs.options import Options, resolve_region, secret
from mqtransport.errors import ClosedError, ConfigurationError

CANARY = "CANARYsecret"


def options(**given: Any) -> Options:
    defaults: dict[str, Any] = dict.fromkeys(("region", "endpoint_url", "access_key", "secret_key"))
    rest = {"timeout_s": 5.0, "poll_connections": 1, "control_connections": 1}
    return Options(**(defaults | rest | given))


@pytest.mark.parametrize(
    "given",
    [
        {"access_key": "AK"},
        {"secret_key": CANARY},
        {"access_key": "AK", "secret_key": ""},
        {"region": "eu west"},
        {"region": "-x"},
        {"region": "123"},
        {"region": "eu-west-1\n"},
        {"endpoint_url": "localhost:9324"},
        {"endpoint_url": "ftp://localhost"},
        {"endpoint_url": "http://"},
        {"endpoint_url": "http://host:port"},
        {"endpoint_url": "http://host:99999"},
        {"endpoint_url": f"http://user:{CANARY}@host"},
        {"endpoint_url": f"http://host/?key={CANARY}"},
        {"endpoint_url": "http://ho st"},
        {"endpoint_url": "http://my_host:9324"},
        {"endpoint_url": "http://[::1"},
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"poll_connections": 0},
        {"control_connections": 0},
    ],
)
def test_a_wrong_option_is_refused_at_construction(given: dict[str, Any]):
    with pytest.raises(ConfigurationError) as caught:
        SQSBroker(**given)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9324",
        "http://127.0.0.1:4566/",
        "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com",
        "http://[::1]:9324",
        "http://sqs:9324",
    ],
)
def test_a_good_endpoint_is_taken(url: str):
    SQSBroker(endpoint_url=url)


def test_half_a_key_pair_names_the_missing_half():
    with pytest.raises(ConfigurationError, match=r"secret_key.*MQ_PASSWORD"):
        SQSBroker(access_key="AK")


def test_empty_keys_mean_the_default_chain():
    SQSBroker(access_key="", secret_key=SecretStr(""))


def test_secrets_show_nowhere():
    broker = SQSBroker(
        access_key=SecretStr(CANARY), secret_key=CANARY, endpoint_url="http://x", region="eu-west-1"
    )
    for text in (repr(broker), str(broker), repr(vars(broker)), repr(broker._options)):
        assert CANARY not in text
    assert repr(broker) == "<SQSBroker region='eu-west-1' not connected>"


def test_secrets_are_masked_whatever_their_type():
    assert secret(None) is None
    assert repr(secret("x")) == repr(secret(SecretStr("x"))) == "SecretStr('**********')"


class TestRegion:
    def test_the_order_is_argument_aws_region_aws_default_region_profile(self):
        environ = {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-3"}
        given = options(region="eu-west-1")
        assert resolve_region(given, environ, lambda: "eu-north-1") == "eu-west-1"
        assert resolve_region(options(), environ, lambda: "eu-north-1") == "eu-west-2"
        del environ["AWS_REGION"]
        assert resolve_region(options(), environ, lambda: "eu-north-1") == "eu-west-3"
        assert resolve_region(options(), {}, lambda: "eu-north-1") == "eu-north-1"

    @pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"])
    def test_an_endpoint_alone_is_an_emulator(self, name: str):
        given = options(endpoint_url="http://localhost:1")
        assert resolve_region(given, {}, lambda: None) == "us-east-1"
        assert resolve_region(options(), {name: "http://x"}, lambda: None) == "us-east-1"

    def test_no_region_at_all_names_the_setting(self):
        with pytest.raises(ConfigurationError, match="MQ_REGION"):
            resolve_region(options(), {}, lambda: None)

    def test_a_malformed_region_of_the_environment_names_the_variable(self):
        with pytest.raises(ConfigurationError, match="AWS_REGION"):
            resolve_region(options(), {"AWS_REGION": "eu west"}, lambda: None)


class TestConnecting:
    @pytest.fixture(autouse=True)
    def _no_aws(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))

    async def test_the_environment_is_read_when_connecting(self, monkeypatch: pytest.MonkeyPatch):
        broker = SQSBroker()
        with pytest.raises(ConfigurationError, match="MQ_REGION"):
            await broker.connect()
        monkeypatch.setenv("AWS_REGION", "eu-west-2")
        async with broker:
            assert repr(broker) == "<SQSBroker region='eu-west-2' connected>"

    async def test_the_profiles_region_is_found(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ):
        (tmp_path / "config").write_text("[profile team]\nregion = eu-south-1\n")
        monkeypatch.setenv("AWS_PROFILE", "team")
        async with SQSBroker() as broker:
            assert "eu-south-1" in repr(broker)

    async def test_a_missing_profile_is_a_configuration_error(
        self, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("AWS_PROFILE", "missing")
        with pytest.raises(ConfigurationError, match="AWS_PROFILE"):
            await SQSBroker(region="eu-west-1").connect()

    async def test_a_missing_extra_names_the_command(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delitem(sys.modules, "mqtransport.brokers.sqs.client", raising=False)
        monkeypatch.setitem(sys.modules, "aiobotocore", None)
        monkeypatch.setitem(sys.modules, "aiobotocore.config", None)
        with pytest.raises(ConfigurationError, match=r'pip install "mqtransport\[sqs\]"'):
            await SQSBroker(region="eu-west-1").connect()

    async def test_connect_and_aclose_may_be_repeated_and_close_is_final(self):
        broker = SQSBroker(region="eu-west-1")
        await asyncio.gather(broker.connect(), broker.connect())
        await broker.connect()
        await asyncio.gather(broker.aclose(), broker.aclose())
        await broker.aclose()
        with pytest.raises(ClosedError):
            await broker.connect()
        with pytest.raises(ClosedError):
            await broker.ping([])

    async def test_verbs_before_connect_are_refused(self):
        broker = SQSBroker(region="eu-west-1")
        for call in (
            broker.ping([]),
            broker.describe("q"),
            broker.send("q", []),
            broker.receive("q", max_messages=1, wait_s=0, lease_s=1),
            broker.ack("q", ["r"]),
            broker.release("q", ["r"], delay_s=0),
            broker.extend("q", ["r"], lease_s=1),
        ):
            with pytest.raises(ClosedError, match="connect"):
                await call


def test_construction_imports_nothing_of_the_sdk():
    code = (
        "import sys; from mqtransport.brokers.sqs import SQSBroker; SQSBroker(region='eu-west-1');"
        "print([m for m in sys.modules if m.split('.')[0] in ('aiobotocore','botocore','aiohttp')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
