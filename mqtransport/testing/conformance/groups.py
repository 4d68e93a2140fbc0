"""Short ways to say what happens on an ordered queue."""

from __future__ import annotations

from mqtransport.message import RawDelivery
from mqtransport.testing.conformance.bench import PLENTY_S, Bench, confirmed, settled
from mqtransport.testing.conformance.checks import CaseSkipped, claim, same


async def put(bench: Bench, queue: str, *bodies: str) -> list[str]:
    """Send bodies in one batch, each to the group of its first letter; all must be confirmed."""
    batch = [bench.outgoing(body, delay_s=None, group=body[0]) for body in bodies]
    return confirmed(await bench.broker.send(queue, batch))


async def drained(bench: Bench, queue: str, count: int) -> list[str]:
    """Receive and ack until there are so many messages; return their bodies as they came."""
    bodies: list[str] = []
    while len(bodies) < count and (got := await polled(bench, queue)):
        bodies += [d.body for d in got]
        await settled(bench.broker.ack(queue, [d.receipt for d in got]), count=len(got))
    same(len(bodies), count, "messages delivered")
    return bodies


async def polled(bench: Bench, queue: str, *, most: int | None = None) -> list[RawDelivery]:
    """Receive once, and wait for it."""
    wait_s = min(2, bench.capabilities.max_wait_s)
    return await bench.poll(queue=queue, max_messages=most, wait_s=wait_s)


async def together(
    bench: Bench, queue: str, count: int, *, lease_s: float = PLENTY_S
) -> list[RawDelivery]:
    """Return so many messages of one receive, or skip the case.

    The others of a group in flight come with no second receive, and how many come with the first
    is the broker's choice: what is too little is given back.
    """
    wait_s = min(2, bench.capabilities.max_wait_s)
    for _ in range(10):
        got = await bench.poll(queue=queue, max_messages=count, wait_s=wait_s, lease_s=lease_s)
        claim(bool(got), "a group that is free is delivered")
        if len(got) == count:
            return got
        receipts = [d.receipt for d in reversed(got)]
        await settled(bench.broker.release(queue, receipts, delay_s=0), count=len(got))
    raise CaseSkipped(f"the broker never hands out {count} messages of a group at a time")
