"""What the pages say in tables, policies and examples of the wire is true of the code."""

import asyncio
import dataclasses
import importlib
import inspect
import json
import os
import queue
import re
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from annotated_types import Ge, Gt
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel
from pydantic_settings import BaseSettings

from fastapi_mq import FastMQ
from mqtransport import (
    ConsumeMessageError,
    Consumer,
    MQSettings,
    RetryMessage,
    SQSApp,
    findings,
    wire,
)
from mqtransport.brokers.sqlite import SQLiteBroker
from mqtransport.channel import ReceiveOptions, SendOptions
from mqtransport.message import Attribute, RawDelivery
from mqtransport.testing.sqs_double import SQSDouble

from .pages import PAGES, ROOT, all_blocks, blocks_of, table_of

DOCS = ROOT / "docs"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MQ_", "AWS_"))]:
        monkeypatch.delenv(name)


# -- settings.md -----------------------------------------------------------------------------


def variable_of(field: str) -> str:
    return "MQ_QUEUE_<NAME>" if field == "queues" else f"MQ_{field.upper()}"


def settings_table() -> dict[str, list[str]]:
    rows = table_of(DOCS / "settings.md", "Variables")
    return {name: cells for name, cells in rows.items() if name.startswith("MQ_")}


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    assert set(settings_table()) == {variable_of(name) for name in MQSettings.model_fields}


@pytest.mark.parametrize("field", list(MQSettings.model_fields))
def test_the_table_tells_each_default_and_range(field: str) -> None:
    info = MQSettings.model_fields[field]
    _, default, allowed, why = settings_table()[variable_of(field)]
    assert default == f"`{info.get_default(call_default_factory=True)!r}`"
    assert why
    for bound in info.metadata:
        if isinstance(bound, Ge):
            assert allowed == f"{bound.ge} or more"
        if isinstance(bound, Gt):
            assert allowed == f"more than {bound.gt}"


def test_the_table_is_of_the_settings_that_the_environment_fills() -> None:
    assert issubclass(MQSettings, BaseSettings)
    assert MQSettings.model_config["env_prefix"] == "MQ_"


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        ("Options of a consuming channel", ReceiveOptions()),
        ("Options of a producing channel", SendOptions()),
    ],
    ids=["consuming", "producing"],
)
def test_the_tables_of_options_are_complete(heading: str, options: Any) -> None:
    rows = table_of(DOCS / "settings.md", heading)
    told = {name: cells[1] for name, cells in rows.items() if cells[1].startswith("`")}
    assert told == {
        field.name: f"`{getattr(options, field.name)!r}`" for field in dataclasses.fields(options)
    }


# -- sqs.md ----------------------------------------------------------------------------------


class Order(BaseModel):
    id: int


class Troubled(Consumer[Order]):
    """Takes every path that costs a permission: ack, release, dead letter, a long run."""

    name = "Order"

    def __init__(self) -> None:
        self.done = asyncio.Event()

    async def consume(self, order: Order) -> None:
        match order.id:
            case 1:
                self.done.set()
            case 2:
                raise RetryMessage(delay_s=0)
            case 3:
                raise ConsumeMessageError("refused")


async def calls_of_a_producer() -> dict[str, set[str]]:
    async with SQSDouble() as double:
        double.create_queue("shop-orders")
        app = await SQSApp.create("any", "any", "eu-west-1", double.url)
        channel = await app.create_producing_channel("shop-orders")
        async with app:
            await channel.send_message("Order", {"id": 1})
            await app.broker.ping(["shop-orders"])
        return calls(double)


async def calls_of_a_consumer(*, dead_letter: str | None) -> dict[str, set[str]]:
    settings = MQSettings(wait_s=0)
    async with SQSDouble() as double:
        double.create_queue("shop-orders")
        double.create_queue("shop-orders-dlq")
        app = await SQSApp.create("any", "any", "eu-west-1", double.url)
        sending = await app.create_producing_channel("shop-orders")
        await app.start()
        for number in (3, 2, 1):
            await sending.send_message("Order", {"id": number})
        await app.shutdown()
        double.reset_counts()
        app = await SQSApp.create("any", "any", "eu-west-1", double.url, settings=settings)
        channel = await app.create_consuming_channel("shop-orders", dead_letter=dead_letter)
        channel.add_consumer(consumer := Troubled())
        async with app, asyncio.timeout(30):
            await app.broker.ping(["shop-orders"])
            # The double keeps the order: the others' handlers have run by then, and stop waits
            # until their messages are settled.
            await consumer.done.wait()
        return calls(double)


def calls(double: SQSDouble) -> dict[str, set[str]]:
    made: dict[str, set[str]] = defaultdict(set)
    for call in double.log:
        made[call.queue].add(f"sqs:{call.action.removesuffix('Batch')}")
    return made


def policy_of(heading: str) -> dict[str, set[str]]:
    """Return the permissions per queue of the policy below a heading."""
    lines = (DOCS / "sqs.md").read_text("utf-8").splitlines()
    start = lines.index(f"### {heading}") + 1
    text = next(block for block in blocks_of(DOCS / "sqs.md", "json") if block.line > start).text
    granted: dict[str, set[str]] = defaultdict(set)
    for statement in json.loads(text)["Statement"]:
        assert statement["Effect"] == "Allow"
        granted[statement["Resource"].rpartition(":")[2]] |= set(statement["Action"])
    return granted


async def test_the_producer_policy_grants_what_a_producer_calls_and_no_more() -> None:
    assert await calls_of_a_producer() == policy_of("Producer")


async def test_the_consumer_policy_grants_what_a_consumer_calls_and_no_more() -> None:
    assert await calls_of_a_consumer(dead_letter=None) == policy_of("Consumer")


async def test_the_policy_with_dead_letters_grants_what_is_called_and_no_more() -> None:
    granted = policy_of("Consumer with the library's dead letters")
    assert await calls_of_a_consumer(dead_letter="shop-orders-dlq") == granted


def test_the_advice_on_redrive_is_that_of_the_code() -> None:
    assert ReceiveOptions().delivery_limit + 5 == 20
    assert '\\"maxReceiveCount\\":\\"20\\"' in (DOCS / "sqs.md").read_text("utf-8")


def test_the_table_of_findings_has_each_code_at_each_severity() -> None:
    made = re.findall(r'Finding\("(\w+)", queue\.name, "(\w+)"', inspect.getsource(findings))
    page = (DOCS / "sqs.md").read_text("utf-8")
    told = re.findall(r"^\| `(\w+)` \| (error|warning|info) \|", page, re.MULTILINE)
    assert sorted(told) == sorted((code, severity) for severity, code in made)
    assert len(told) == 17


# -- sqlite.md -------------------------------------------------------------------------------


async def test_the_reserve_for_a_full_disk_is_as_large_as_the_page_says(tmp_path: Path) -> None:
    page = (DOCS / "sqlite.md").read_text("utf-8")
    ((told, name),) = re.findall(r"(\d+) MiB are kept for them in `([\w.-]+)`", page)
    async with SQLiteBroker(tmp_path / "queues.db"):
        assert (tmp_path / name).stat().st_size == int(told) * 2**20


# -- wire.md ---------------------------------------------------------------------------------


def test_the_example_of_the_wire_is_what_is_written_and_read() -> None:
    (block,) = blocks_of(DOCS / "wire.md", "json")
    message = json.loads(block.text)
    attributes = {
        name: Attribute(value["DataType"], value["StringValue"])
        for name, value in message["MessageAttributes"].items()
    }
    raw = RawDelivery("broker-id", "receipt", message["MessageBody"], attributes, 1)
    envelope = wire.read_envelope(raw)
    assert envelope.facts.headers == {"source": "web"}
    body = Order.model_validate_json(raw.body).model_dump_json()
    facts = wire.pack_facts(envelope.facts)
    packed = wire.pack(envelope.name, body, facts, max_bytes=2**20)
    assert packed[:2] == (raw.body, attributes)


# -- fastapi.md, quickstart.md ---------------------------------------------------------------


def test_every_health_path_in_the_docs_answers() -> None:
    paths = {
        path
        for page in PAGES
        for path in re.findall(r"/health/mq(?:/\w+)?", page.read_text("utf-8"))
    }
    assert paths == {"/health/mq", "/health/mq/live", "/health/mq/ready"}
    app = FastAPI()
    mq = FastMQ(app)
    mq.producer("orders", Order)
    with TestClient(app) as client:
        for path in paths:
            assert client.get(path).json() == {"status": "pass"}
            assert client.head(path).status_code == 200


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The quickstart's shop.py, imported from a file as its reader would."""
    block = next(one for one in blocks_of(DOCS / "quickstart.md", "python") if one.module == "shop")
    (tmp_path / "quickstart_shop.py").write_text(block.text, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "quickstart_shop", raising=False)
    return importlib.import_module("quickstart_shop")


def post_and_wait(shop: ModuleType) -> None:
    printed: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
    vars(shop)["print"] = lambda *words: printed.put(words)
    with TestClient(shop.app) as client:
        assert client.post("/orders", json={"id": 7}).status_code == 202
        assert printed.get(timeout=30) == ("order", 7)
        assert client.get("/health/mq").json() == {"status": "pass"}


def test_the_quickstart_posts_and_handles_an_order(shop: ModuleType) -> None:
    post_and_wait(shop)


def test_the_quickstart_runs_on_sqs_by_settings_alone(
    shop: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SQSDouble.in_thread() as double:
        double.create_queue("shop-orders")
        for name, value in {
            "MQ_BROKER": "sqs",
            "MQ_URL": double.url,
            "MQ_USERNAME": "any",
            "MQ_PASSWORD": "any",
            "MQ_QUEUE_ORDERS": "shop-orders",
            "MQ_WAIT_S": "1",
        }.items():
            monkeypatch.setenv(name, value)
        post_and_wait(shop)
        assert double.requests["SendMessageBatch"] == 1


def test_diagrams_are_of_a_kind_that_code_hosts_draw() -> None:
    diagrams = all_blocks("mermaid")
    assert len([one for one in diagrams if one.page.name == "abstractions.md"]) == 3
    for diagram in diagrams:
        assert diagram.text.startswith(("flowchart", "sequenceDiagram")), diagram.where
        for line in diagram.text.splitlines():
            assert line.count('"') % 2 == 0, f"{diagram.where}: {line}"
