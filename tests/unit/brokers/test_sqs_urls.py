"""From names to URLs: one lookup for all, and no name that cannot work."""

from __future__ import annotations

import asyncio

import pytest

from mqtransport.brokers.sqs.urls import QueueUrls, why_unusable
from mqtransport.errors import BrokerUnavailableError

URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"


class Lookups:
    def __init__(self) -> None:
        self.count = 0
        self.answer = asyncio.Event()
        self.fail = False

    async def __call__(self, queue: str) -> str:
        self.count += 1
        await self.answer.wait()
        if self.fail:
            raise BrokerUnavailableError("down")
        return URL


async def start(*coroutines) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_concurrent_first_users_share_one_lookup():
    urls, lookups = QueueUrls(), Lookups()
    tasks = await start(*(urls.get("orders", lookups) for _ in range(10)))
    lookups.answer.set()
    assert await asyncio.gather(*tasks) == [URL] * 10
    assert lookups.count == 1


async def test_a_cancelled_first_user_hurts_nobody():
    urls, lookups = QueueUrls(), Lookups()
    first, *others = await start(*(urls.get("orders", lookups) for _ in range(3)))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    lookups.answer.set()
    assert await asyncio.gather(*others) == [URL] * 2
    assert lookups.count == 2


async def test_a_failed_lookup_is_not_remembered():
    urls, lookups = QueueUrls(), Lookups()
    lookups.answer.set()
    lookups.fail = True
    with pytest.raises(BrokerUnavailableError):
        await urls.get("orders", lookups)
    lookups.fail = False
    assert await urls.get("orders", lookups) == URL


async def test_a_forgotten_queue_is_looked_up_again():
    urls, lookups = QueueUrls(), Lookups()
    lookups.answer.set()
    await urls.get("orders", lookups)
    urls.forget("orders")
    await urls.get("orders", lookups)
    assert lookups.count == 2


async def test_a_url_needs_no_lookup():
    lookups = Lookups()
    assert await QueueUrls().get(URL, lookups) == URL
    assert lookups.count == 0


@pytest.mark.parametrize(
    ("queue", "custom", "usable"),
    [
        ("orders", False, True),
        ("bad name", False, False),
        ("", False, False),
        ("x" * 81, False, False),
        ("arn:aws:sqs:eu-west-1:123456789012:orders", False, False),
        (URL, False, True),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/orders", False, True),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/orders", False, False),
        ("https://us-east-1.queue.amazonaws.com/123456789012/orders", False, False),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/orders", False, False),
        ("https://sqs.us-east-1.amazonaws.com/123456789012/orders", True, True),
        ("http://localhost:9324/000000000000/orders", True, True),
    ],
)
def test_what_cannot_work_is_told_before_any_call(queue: str, custom: bool, usable: bool):
    why = why_unusable(queue, region="eu-west-1", custom_endpoint=custom)
    assert (why is None) == usable
