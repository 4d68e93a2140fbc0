"""Every example runs as its README says: on the embedded default, and on SQS by settings alone."""

import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mqtransport.testing.sqs_double import SQSDouble

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0

EXPECTED = {
    "basic": ["Consumed message: rnd="],
    "many_kinds": ["order 1 of tea, cups", "Ann cancelled order 1: broken", "report for Monday"],
    "several_queues": [
        "invoices: sent 3, handled 3, acked 3",
        "emails: sent 20, handled 20, acked 20",
        "backups: sent 1, handled 1, acked 1",
    ],
    "chain": ["A sent 10 numbers", "C collected 10 squares, their sum is 385"],
    "network_failure": [
        "consumed 0 to 4",
        "the broker is gone",
        "5 messages wait in the buffer",
        "consumed 5 to 9",
    ],
    "unsent": [
        "order 3 is buffered",
        "exported {'unsent': 3}",
        "imported {'unsent': 3}",
        "delivered orders 1 to 3",
        "exported {}",
    ],
    "dead_letters": [
        "ZeroDivisionError: integer division or modulo by zero (attempts: 2)",
        "ConsumeMessageError: no account in XTS (attempts: 1)",
        "dead letter 'refund': UnknownMessageError",
        "MalformedMessageError: body: Invalid JSON",
    ],
}


@pytest.fixture
def double() -> Iterator[SQSDouble]:
    with SQSDouble.in_thread() as running:
        yield running


def sqs_settings(double: SQSDouble) -> dict[str, str]:
    return {
        "MQ_BROKER": "sqs",
        "MQ_URL": double.url,
        "MQ_REGION": "us-east-1",
        "MQ_USERNAME": "x",
        "MQ_PASSWORD": "y",
        "MQ_CREATE_QUEUES": "1",
        "MQ_WAIT_S": "1",  # a stop waits for the open poll
    }


def sqlite_settings(folder: Path) -> dict[str, str]:
    return {"MQ_URL": f"sqlite:///{folder / 'queues.db'}"}


class Running:
    """A process under test and what it has written so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.output = ""

    async def read_until(self, text: str, count: int = 1) -> None:
        """Read on until the text was written ``count`` times."""
        async with asyncio.timeout(LIMIT_S):
            while self.output.count(text) < count:
                assert await self._read_line(), f"it ended without {text!r}:\n{self.output}"

    async def ended_well(self) -> str:
        """Read to the end and return everything; it must end with status 0, and cleanly."""
        async with asyncio.timeout(LIMIT_S):
            while await self._read_line():
                pass
            status = await self.process.wait()
        assert status == 0, self.output
        for trouble in ("Traceback", "never retrieved", "ResourceWarning", "Unclosed"):
            assert trouble not in self.output
        return self.output

    async def _read_line(self) -> bool:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        self.output += line.decode()
        return bool(line)


@asynccontextmanager
async def running(
    *arguments: str | Path, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Running]:
    """Start Python with these arguments, and no other ``MQ_`` settings than these."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MQ_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "always::ResourceWarning", *arguments),
        cwd=ROOT,
        env={**inherited, "PYTHONUNBUFFERED": "1", **(settings or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()  # it is dead: this also closes the pipe


def script(name: str) -> Path:
    return Path("examples", name, "main.py")


@pytest.mark.parametrize("name", EXPECTED)
async def test_example_shows_what_it_promises_on_the_embedded_default(name: str) -> None:
    async with running(script(name)) as process:
        output = await process.ended_well()
    assert [line for line in EXPECTED[name] if line not in output] == []


@pytest.mark.parametrize("name", EXPECTED)
async def test_example_shows_the_same_on_sqs_by_settings_alone(
    name: str, double: SQSDouble
) -> None:
    async with running(script(name), settings=sqs_settings(double)) as process:
        output = await process.ended_well()
    assert [line for line in EXPECTED[name] if line not in output] == []
    assert double.requests["SendMessageBatch"] > 0
    left = {queue: double.counts(queue) for queue in queues_of(double)}
    assert {queue: counts for queue, counts in left.items() if counts != (0, 0, 0)} == {}


@pytest.mark.parametrize("name", EXPECTED)
async def test_example_shows_the_same_on_sqlite_by_one_setting(name: str, tmp_path: Path) -> None:
    async with running(script(name), settings=sqlite_settings(tmp_path)) as process:
        output = await process.ended_well()
    assert [line for line in EXPECTED[name] if line not in output] == []


async def test_chain_runs_as_three_processes_on_one_sqlite_file(tmp_path: Path) -> None:
    settings = sqlite_settings(tmp_path)
    async with (
        running(script("chain"), "b", settings=settings) as b,
        running(script("chain"), "c", settings=settings) as c,
        running(script("chain"), "a", settings=settings) as a,
    ):
        assert "A sent 10 numbers" in await a.ended_well()
        assert "C collected 10 squares, their sum is 385" in await c.ended_well()
        b.process.terminate()
        await b.ended_well()
    async with running("-m", "mqtransport.brokers.sqlite", tmp_path / "queues.db") as shown:
        lines = (await shown.ended_well()).splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ["numbers", "0", "0", "0"],
        ["squares", "0", "0", "0"],
    ]


async def test_unsent_messages_survive_between_two_processes_on_one_sqlite_file(
    tmp_path: Path,
) -> None:
    settings, file = sqlite_settings(tmp_path), tmp_path / "unsent.json"
    async with running(script("unsent"), "first", file, settings=settings) as first:
        await first.ended_well()
    async with running(script("unsent"), "second", file, settings=settings) as second:
        assert "delivered orders 1 to 3" in await second.ended_well()


def queues_of(double: SQSDouble) -> set[str]:
    return {call.queue for call in double.log if call.action == "CreateQueue"}


async def test_basic_runs_as_two_processes_on_sqs(double: SQSDouble) -> None:
    settings = sqs_settings(double)
    async with (
        running(script("basic"), "consumer", settings=settings) as consumer,
        running(script("basic"), "producer", settings=settings) as producer,
    ):
        assert (await producer.ended_well()).count("Produced message") == 10
        await consumer.read_until("Consumed message", 10)
        consumer.process.terminate()
        await consumer.ended_well()
    assert double.counts("basic") == (0, 0, 0)


async def test_chain_runs_as_three_processes_on_sqs(double: SQSDouble) -> None:
    settings = sqs_settings(double)
    async with (
        running(script("chain"), "b", settings=settings) as b,
        running(script("chain"), "c", settings=settings) as c,
        running(script("chain"), "a", settings=settings) as a,
    ):
        assert "A sent 10 numbers" in await a.ended_well()
        assert "C collected 10 squares, their sum is 385" in await c.ended_well()
        b.process.terminate()
        await b.ended_well()
    assert double.counts("numbers") == double.counts("squares") == (0, 0, 0)


@pytest.mark.parametrize(("name", "role"), [("basic", "producer"), ("chain", "b")])
async def test_one_of_several_processes_is_refused_on_a_broker_in_memory(
    name: str, role: str
) -> None:
    async with running(script(name), role) as process:
        await process.read_until("this broker lives in one process")
        assert await asyncio.wait_for(process.process.wait(), LIMIT_S) == 1


async def test_unsent_messages_survive_in_the_file_between_two_processes(tmp_path: Path) -> None:
    file = tmp_path / "unsent.json"
    async with running(script("unsent"), "first", file) as first:
        await first.ended_well()
    assert len(json.loads(file.read_text())["unsent"]) == 3
    async with running(script("unsent"), "second", file) as second:
        assert "delivered orders 1 to 3" in await second.ended_well()
    assert json.loads(file.read_text()) == {}


@pytest.mark.parametrize("broker", ["memory", "sqlite", "sqs"])
async def test_orders_takes_an_order_over_http_and_handles_it(
    broker: str, double: SQSDouble, tmp_path: Path
) -> None:
    chosen = {"memory": {}, "sqlite": sqlite_settings(tmp_path), "sqs": sqs_settings(double)}
    settings = chosen[broker]
    arguments = ("-m", "uvicorn", "examples.orders.app:app", "--port", "0")
    async with running(*arguments, settings=settings) as server:
        await server.read_until("Uvicorn running on ")
        url = server.output.split("Uvicorn running on ")[1].split()[0]
        assert await asyncio.to_thread(request, f"{url}/orders", b'{"id": 7}') == (202, None)
        await server.read_until("order 7")
        assert await asyncio.to_thread(request, f"{url}/handled") == (200, [7])
        assert await asyncio.to_thread(request, f"{url}/health/mq") == (200, {"status": "pass"})
        server.process.terminate()
        async with asyncio.timeout(LIMIT_S):
            await server.process.wait()


def request(url: str, body: bytes | None = None) -> tuple[int, object]:
    """GET, or POST a JSON body; return the status and the JSON answer."""
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(url, data=body, headers=headers), timeout=LIMIT_S
    ) as answer:
        return answer.status, json.loads(answer.read())
