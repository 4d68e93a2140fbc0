"""``on_unknown`` and ``on_invalid``: what waits for a process that knows it, and for how long."""

import asyncio
import json
from typing import Any

import pytest

from mqtransport import MQApp, Retry
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.message import Attribute, Outgoing
from mqtransport.testing import VirtualClock, run_virtual
from tests.contract.support import Number, check_balanced, consumer

MESSAGES = {
    "on_unknown": ("newer.name", '{"n": 1}'),
    "on_invalid": ("number", '{"newer_field": 1}'),
}
ERRORS = {"on_unknown": "UnknownMessageError", "on_invalid": "InvalidMessageError"}


async def ignore(body: Number) -> None:
    return None


def run(option: str, seconds: float, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Let an older process read a newer message; return counts and dead letters' reasons."""

    async def main() -> tuple[Any, list[dict[str, Any]]]:
        name, body = MESSAGES[option]
        attributes = {"Name": Attribute("String", name), "Compression": Attribute("String", "off")}
        clock = VirtualClock()
        broker = MemoryBroker(clock=clock)
        await broker.connect()
        app = MQApp(broker, clock=clock)
        channel = await app.create_consuming_channel("orders", **options)
        channel.use_dead_letter_queue(await app.create_producing_channel("dlq"))
        channel.add_consumer(consumer(ignore))
        await broker.send("orders", [Outgoing("id", body, attributes)])
        await app.start()
        await asyncio.sleep(seconds)
        await app.stop()
        check_balanced(channel.counts)
        dead = await broker.receive("dlq", max_messages=10, wait_s=0, lease_s=30)
        reasons = [json.loads(str(one.attributes["MQ"].value))["dl"] for one in dead]
        await app.shutdown()
        return channel.counts, reasons

    return run_virtual(main)


@pytest.mark.parametrize("option", MESSAGES)
def test_by_default_it_is_dead_lettered_at_once(option: str) -> None:
    counts, (why,) = run(option, 1)
    assert (counts.received, counts.dead_lettered) == (1, 1)
    assert why["error"] == ERRORS[option]


@pytest.mark.parametrize("option", MESSAGES)
def test_with_release_it_is_given_back_with_backoff(option: str) -> None:
    counts, reasons = run(option, 60, **{option: "release"})
    assert reasons == []
    assert counts.released == counts.received
    assert 2 <= counts.received < 15


@pytest.mark.parametrize("option", MESSAGES)
def test_one_option_does_not_stand_for_the_other(option: str) -> None:
    other = next(name for name in MESSAGES if name != option)
    counts, (why,) = run(option, 1, **{other: "release"})
    assert (counts.dead_lettered, why["error"]) == (1, ERRORS[option])


@pytest.mark.parametrize("option", MESSAGES)
def test_even_with_release_max_deliveries_ends_it(option: str) -> None:
    retry = Retry(max_attempts=1)
    counts, (why,) = run(option, 3600, retry=retry, max_deliveries=4, **{option: "release"})
    assert (counts.released, counts.dead_lettered) == (4, 1)
    assert (why["error"], why["attempts"]) == ("DeliveryLimitError", 5)
