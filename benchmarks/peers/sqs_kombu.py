"""kombu on SQS (boto3, one thread): the transport below celery.

Variants: ``default``. Only the full queue: it has no event loop to share with the others.
"""

from __future__ import annotations

import os
from typing import Any

from kombu import Connection, Consumer, Producer, Queue

from benchmarks.measuring import Meter, peak_bytes, tell
from benchmarks.message import Order, orders
from benchmarks.peers.sqs_driving import QUEUE, WARM, arguments
from benchmarks.stub_control import Control

VARIANTS = ("default",)


def main() -> None:
    """Measure it, and tell the result."""
    _, settings, count = arguments(VARIANTS)
    control = Control.of_environment()
    control.create()
    handled = 0
    address = f"{settings.url}/000000000000/{QUEUE}"
    predefined = {"url": address, "access_key_id": "any", "secret_access_key": "any"}
    connection = Connection(
        "sqs://any:any@",
        transport_options={
            "region": "us-east-1",
            "predefined_queues": {QUEUE: predefined},
            "wait_time_seconds": 20,
        },
    )
    channel = connection.channel()
    queue = Queue(QUEUE, routing_key=QUEUE)
    producer = Producer(channel, serializer="json")

    def send(most: int) -> None:
        for message in orders(most):
            producer.publish(message.model_dump(mode="json"), routing_key=QUEUE)

    def handle(body: Any, message: Any) -> None:
        nonlocal handled
        Order.model_validate(body)
        handled += 1
        message.ack()

    consumer = Consumer(channel, [queue], callbacks=[handle], prefetch_count=10)
    consumer.consume()

    def receive(most: int) -> None:
        nonlocal handled
        handled = 0
        while handled < most:
            connection.drain_events(timeout=60)

    send(WARM)
    receive(WARM)
    control.reset()
    meter = Meter()
    send(count)
    produced = meter.stop(count, requests=control.stats()["requests"])
    control.reset()
    meter.start()
    receive(count)
    consumed = meter.stop(count, requests=control.stats()["requests"])
    left = control.stats()
    if left["depth"] or left["in_flight"]:
        raise RuntimeError("messages were not deleted")
    tell({"produce": produced, "consume": consumed, "peak_bytes": peak_bytes()})
    os._exit(0)


if __name__ == "__main__":
    main()
