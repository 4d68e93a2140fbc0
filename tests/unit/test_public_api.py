"""The import paths that existing services rely on, and what an import does not pull in."""

import importlib
import inspect
import subprocess
import sys

import pytest

import mqtransport

BLOCKED = ("aiobotocore", "aiohttp", "botocore", "fastapi", "starlette")

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_list_of_public_names_is_sorted_and_complete() -> None:
    names = mqtransport.__all__
    assert len(set(names)) == len(names)
    assert names == sorted(names, key=_as_ruff_sorts)
    public = {
        name
        for name, value in vars(mqtransport).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(names) == public


def _as_ruff_sorts(name: str) -> tuple[bool, str]:
    return (not name.isupper(), name)


@pytest.mark.parametrize(
    "module",
    ["mqtransport.channel", "mqtransport.testing", "mqtransport.brokers.sqs"],
)
def test_a_packages_public_names_exist(module: str) -> None:
    found = importlib.import_module(module)
    for name in getattr(found, "__all__", ()):
        assert hasattr(found, name)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("mqtransport", ["MQApp", "SQSApp", "Consumer", "Producer"]),
        ("mqtransport.participants", ["Consumer", "Producer"]),
        ("mqtransport.channel", ["ConsumingChannel", "ProducingChannel"]),
        (
            "mqtransport.errors",
            ["ChannelError", "ConsumeMessageError", "ImportMessageError", "MQTransportError"],
        ),
    ],
)
def test_the_import_paths_of_existing_services_exist(module: str, names: list[str]) -> None:
    found = importlib.import_module(module)
    for name in names:
        assert inspect.isclass(getattr(found, name))


def test_a_name_is_the_same_object_on_every_path() -> None:
    from mqtransport import channel, errors, participants

    assert mqtransport.Consumer is participants.Consumer
    assert mqtransport.Producer is participants.Producer
    assert mqtransport.ConsumingChannel is channel.ConsumingChannel
    assert mqtransport.ConsumeMessageError is errors.ConsumeMessageError


def test_everything_is_imported_without_the_extras() -> None:
    code = BLOCKER + (
        "import mqtransport\n"
        "names = list(mqtransport.__all__)\n"
        "from mqtransport import *\n"
        "print(all(name in globals() for name in names))"
    )
    assert run(code) == "True"


def test_an_app_runs_without_the_extras() -> None:
    code = BLOCKER + (
        "import asyncio\n"
        "from mqtransport import MQApp\n"
        "async def main():\n"
        "    app = await MQApp.connect('memory://')\n"
        "    channel = await app.create_producing_channel('orders')\n"
        "    await app.start()\n"
        "    print((await channel.send_message('n', {})).state)\n"
        "    await app.shutdown()\n"
        "asyncio.run(main())"
    )
    assert run(code) == "confirmed"


def test_sqs_without_its_extra_fails_with_what_to_install() -> None:
    code = BLOCKER + (
        "import asyncio\n"
        "from mqtransport import SQSApp\n"
        "from mqtransport.errors import ConfigurationError\n"
        "try:\n"
        "    asyncio.run(SQSApp.create(region='eu-west-1'))\n"
        "except ConfigurationError as error:\n"
        "    print('mqtransport[sqs]' in str(error))"
    )
    assert run(code) == "True"


def test_the_import_pulls_in_no_extra() -> None:
    code = f"import sys, mqtransport\nprint([name for name in {BLOCKED!r} if name in sys.modules])"
    assert run(code) == "[]"


@pytest.mark.parametrize(
    "module",
    [
        "mqtransport.app",
        "mqtransport.channel",
        "mqtransport.errors",
        "mqtransport.participants",
        "mqtransport.settings",
        "mqtransport.wire",
        "mqtransport.select",
    ],
)
def test_each_module_can_be_the_first_import(module: str) -> None:
    assert run(f"import {module}; print('ok')") == "ok"


def test_the_plugin_without_fastapi_says_how_to_get_it() -> None:
    code = (
        BLOCKER
        + """
try:
    import fastapi_mq
except ModuleNotFoundError as error:
    print(error)
"""
    )
    assert 'pip install "mqtransport[fastapi]"' in run(code)


def test_the_sqs_broker_without_aiobotocore_says_how_to_get_it() -> None:
    code = (
        BLOCKER
        + """
import asyncio
from mqtransport import ConfigurationError, SQSApp
try:
    asyncio.run(SQSApp.create("key", "secret", "us-east-1"))
except ConfigurationError as error:
    print(error)
"""
    )
    assert 'pip install "mqtransport[sqs]"' in run(code)


@pytest.mark.parametrize("tool", ["SQSDouble", "FaultProxy"])
def test_the_testing_tools_without_aiohttp_say_how_to_get_it(tool: str) -> None:
    code = (
        BLOCKER
        + f"""
import mqtransport.testing
from mqtransport import ConfigurationError
try:
    mqtransport.testing.{tool}
except ConfigurationError as error:
    print(error)
"""
    )
    found = run(code)
    assert tool == "FaultProxy" or 'pip install "mqtransport[sqs]"' in found
