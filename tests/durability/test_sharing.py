"""Several processes on one file, and nothing fails."""

import asyncio
import statistics
import threading
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

import pytest

from tests.durability.support import QUEUE, opened, receive, running, stored

pytestmark = pytest.mark.process

SHARING = "tests.durability.sharing"
PROCESSES = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


def handled(path: Path, queue: str, count: int) -> list[tuple[float, str]]:
    """When each message was handled, by four processes that send ``count`` messages together."""
    lines: Queue[str] = Queue()

    def listen(stream: object) -> None:
        for line in stream:
            lines.put(line)

    with ExitStack() as stack:
        share = str(count // PROCESSES)
        processes = [
            stack.enter_context(running(SHARING, "work", str(path), queue, str(number), share))
            for number in range(PROCESSES)
        ]
        threads = [threading.Thread(target=listen, args=(one.stdout,)) for one in processes]
        for one in threads:
            one.start()
        found = [lines.get(timeout=60) for _ in range(count)]
        for one in processes:
            one.stdin.close()
        assert [one.wait(timeout=30) for one in processes] == [0] * PROCESSES
        for one in threads:
            one.join(timeout=30)
        while not lines.empty():
            found.append(lines.get())
    pairs = (line.split() for line in found)
    return [(float(at), body) for at, body in pairs]


@pytest.mark.parametrize("queue", [QUEUE, "orders.fifo"])
def test_each_message_is_handled_once_and_groups_in_order(
    path: Path, queue: str, full: bool
) -> None:
    count, start = 20_000 if full else 2_000, time.monotonic()
    found = handled(path, queue, count)
    print(f"\n{queue}: {count} messages in {time.monotonic() - start:.1f} s")
    assert [body for body, times in Counter(body for _, body in found).items() if times > 1] == []
    assert len(found) == count
    assert stored(path) == set()
    if queue.endswith(".fifo"):
        groups = defaultdict(list)
        for _, body in sorted(found):
            group, _, number = body.partition(".")
            groups[group].append(int(number))
        assert all(numbers == sorted(numbers) for numbers in groups.values())


async def test_a_waiting_receive_hears_of_another_processs_message(path: Path) -> None:
    """Within 100 ms; the bound leaves room for a machine that is busy with other tests."""
    late = []
    async with opened(path) as broker:
        with running(SHARING, "send", str(path), QUEUE) as sender:
            assert await asyncio.to_thread(sender.stdout.readline) == "ready\n"
            for _ in range(20):
                waiting = asyncio.create_task(receive(broker, wait_s=10))
                await asyncio.sleep(0.05)  # it waits, in all likelihood; no matter if not
                sender.stdin.write("\n")
                sender.stdin.flush()
                (one,) = await waiting
                late.append(time.monotonic() - float(one.body))
                assert await broker.ack(QUEUE, [one.receipt]) == [None]
    print(f"\nheard after {statistics.median(late) * 1000:.0f} ms, {max(late) * 1000:.0f} at most")
    assert statistics.median(late) < 0.25


def test_waiting_costs_next_to_nothing(path: Path, full: bool) -> None:
    with running(SHARING, "wait", str(path), "20" if full else "4") as process:
        used_s, elapsed_s = map(float, process.stdout.readline().split())
    print(f"\nidle: {used_s / elapsed_s:.2%} CPU")
    assert used_s / elapsed_s < 0.01
