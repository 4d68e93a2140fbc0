"""The strict double does as the emulators do wherever they do as AWS documents.

The double is our own reading of AWS's documents; the emulators are other people's. Where one of
them is right, both must give the same answer to the same requests.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from mqtransport.testing.sqs_double import SQSDouble
from tests.emulators import SERVERS

from . import agreed_receiving, agreed_sending  # noqa: F401 - they fill the rows
from .agreed import ROWS, Row
from .emulator_faults import EMULATORS

PAIRS = [(emulator, row) for emulator in EMULATORS for row in ROWS if emulator in row.emulators]


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Any]:
    # Without botocore's own validation, or many a bad request would never be sent.
    config = AioConfig(retries={"total_max_attempts": 1}, parameter_validation=False)
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    async with get_session().create_client(
        "sqs", region_name="us-east-1", endpoint_url=url, config=config, **keys
    ) as client:
        yield client


@pytest.fixture(scope="module")
async def double() -> AsyncIterator[Any]:
    async with SQSDouble() as running, client_of(running.url) as client:
        yield client


@pytest.fixture(scope="module")
async def emulator(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    with SERVERS[request.param]() as url:
        async with client_of(url) as client:
            yield client


@pytest.mark.emulator
@pytest.mark.filterwarnings("ignore:Sending a large body")  # aiohttp, of more than 1 MiB
@pytest.mark.parametrize(
    ("emulator", "row"), PAIRS, indirect=["emulator"], ids=[f"{name}-{row}" for name, row in PAIRS]
)
async def test_the_double_answers_as_the_emulator_does(
    double: Any, emulator: Any, row: Row
) -> None:
    by_double, by_emulator = await asyncio.gather(played(row, double), played(row, emulator))
    assert by_emulator == row.expected
    assert by_double == by_emulator


async def played(row: Row, sqs: Any) -> Any:
    name = f"{row}-{uuid.uuid4().hex[:8]}"
    made = await sqs.create_queue(QueueName=name, Attributes=dict(row.attributes))
    return await row.play(sqs, made["QueueUrl"])


def test_every_emulator_is_right_about_something() -> None:
    assert {emulator for emulator, _ in PAIRS} == set(EMULATORS)
    assert len({str(row) for row in ROWS}) == len(ROWS)
