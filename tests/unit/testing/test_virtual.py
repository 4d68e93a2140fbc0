import asyncio
import selectors
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest

from mqtransport.testing import DeadlockError, VirtualClock, VirtualLoop, run_virtual
from mqtransport.testing.virtual import EPOCH_S, _ShuffledReady


def loop() -> VirtualLoop:
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


def test_eight_hours_of_sleep_take_no_real_time() -> None:
    async def main() -> float:
        for _ in range(8 * 60):
            await asyncio.sleep(60)
        return loop().time()

    before = time.monotonic()
    assert run_virtual(main) == 8 * 3600
    assert time.monotonic() - before < 60


def test_a_sleep_longer_than_asyncio_ever_waits_in_one_go_ends_exactly() -> None:
    async def main() -> float:
        await asyncio.sleep(400 * 86_400)
        await asyncio.sleep(0.001)
        return loop().time()

    assert run_virtual(main) == 400 * 86_400 + 0.001


def test_timers_fire_in_their_order_at_their_times() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def nap(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop().time()))

        await asyncio.gather(nap("c", 3), nap("a", 0.25), nap("b", 2))
        return seen

    assert run_virtual(main) == [("a", 0.25), ("b", 2.0), ("c", 3.0)]


def test_timeouts_are_virtual_too() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.sleep(7200)
        return loop().time()

    assert run_virtual(main) == 3600


def test_it_returns_what_the_coroutine_returns_and_raises_what_it_raises() -> None:
    async def good() -> str:
        return "done"

    async def bad() -> None:
        raise ValueError("mine")

    assert run_virtual(good) == "done"
    with pytest.raises(ValueError, match="mine"):
        run_virtual(bad)


def test_a_deadlock_raises_and_names_the_waiting_tasks_and_where() -> None:
    async def stuck_for_ever() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.gather(*(stuck_for_ever() for _ in range(12)))

    with pytest.raises(DeadlockError) as caught:
        run_virtual(main)
    text = str(caught.value)
    assert "stuck_for_ever" in text
    assert "test_virtual.py:" in text
    assert "and 3 more" in text


def test_clean_up_runs_after_a_deadlock() -> None:
    cleaned = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    with pytest.raises(DeadlockError):
        run_virtual(main)
    assert cleaned == [True]


def test_background_tasks_and_generators_are_cleaned_up_like_asyncio_run() -> None:
    events: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            events.append("generator closed")

    kept: list[object] = []

    async def main() -> None:
        kept.append(asyncio.create_task(background()))
        generator = numbers()
        kept.append(generator)
        await anext(generator)

    run_virtual(main)
    assert sorted(events) == ["cancelled", "generator closed"]


def test_time_stands_still_while_a_thread_works() -> None:
    release = threading.Event()

    def work() -> str:
        assert release.wait(30)
        return "worked"

    async def main() -> tuple[str, float]:
        # The far timer is what a jump would go to.
        far = loop().call_later(3600, lambda: None)
        running = asyncio.create_task(asyncio.to_thread(work))
        await asyncio.sleep(0)
        threading.Timer(0.05, release.set).start()
        result = await running
        far.cancel()
        return result, loop().time()

    assert run_virtual(main) == ("worked", 0.0)


def test_many_short_threads_never_let_time_jump() -> None:
    async def main() -> float:
        far = loop().call_later(3600, lambda: None)
        for _ in range(300):
            await asyncio.to_thread(int)
        far.cancel()
        return loop().time()

    assert run_virtual(main) == 0.0


def test_a_timer_fires_in_real_time_while_a_thread_is_blocked() -> None:
    release = threading.Event()

    async def main() -> float:
        running = asyncio.create_task(asyncio.to_thread(release.wait, 30))
        await asyncio.sleep(0.05)
        release.set()
        assert await running
        return loop().time()

    assert run_virtual(main) == 0.05


def test_time_jumps_over_a_blocked_thread_where_the_test_says_so() -> None:
    release = threading.Event()

    async def main() -> float:
        loop().waits_for_threads = False
        running = asyncio.create_task(asyncio.to_thread(release.wait, 30))
        await asyncio.sleep(3600)
        assert not running.done()
        release.set()
        # With no timer left there is only the thread to wait for: no deadlock.
        assert await running
        return loop().time()

    assert run_virtual(main) == 3600


def test_work_that_was_cancelled_before_it_began_holds_nothing_up() -> None:
    release = threading.Event()

    async def main() -> float:
        with ThreadPoolExecutor(1) as pool:
            first = loop().run_in_executor(pool, release.wait, 30)
            second = loop().run_in_executor(pool, int)
            second.cancel()
            await asyncio.sleep(0)
            release.set()
            await first
            await asyncio.sleep(3600)
        return loop().time()

    assert run_virtual(main) == 3600


def test_time_does_not_jump_over_work_that_ends_while_the_loop_polls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poll = selectors.DefaultSelector.select
    finish: list[Callable[[], None]] = []

    def racing(selector: selectors.DefaultSelector, timeout: float | None = None) -> Any:
        ready = poll(selector, timeout)
        if timeout == 0 and not ready and finish:
            finish.pop()()
        return ready

    async def main() -> float:
        running, done = loop(), asyncio.Event()
        far = running.call_later(3600, lambda: None)
        with ExitStack() as stack:
            stack.enter_context(running.held())

            def work_ends() -> None:
                running.call_soon_threadsafe(done.set)
                stack.close()

            await asyncio.sleep(0)
            finish.append(work_ends)
            await done.wait()
        far.cancel()
        return running.time()

    monkeypatch.setattr(selectors.DefaultSelector, "select", racing)
    assert run_virtual(main) == 0.0


def test_held_waits_for_a_thread_that_the_loop_cannot_see() -> None:
    async def main() -> float:
        done = asyncio.Event()
        running = loop()
        with running.held():
            timer = threading.Timer(0.02, lambda: running.call_soon_threadsafe(done.set))
            timer.start()
            await done.wait()
        timer.join()
        return running.time()

    assert run_virtual(main) == 0.0


def test_ready_file_descriptors_are_served_before_time_jumps() -> None:
    async def main() -> tuple[bytes, float]:
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        far.sendall(b"hello")
        async with asyncio.timeout(3600):
            data = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        far.close()
        return data, loop().time()

    assert run_virtual(main) == (b"hello", 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_streams_work_under_every_seed(seed: int) -> None:
    async def main() -> bytes:
        complaints: list[dict[str, Any]] = []
        loop().set_exception_handler(lambda _, context: complaints.append(context))

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"ping\n")
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
        assert complaints == []
        return answer

    assert run_virtual(main, seed=seed) == b"ping\n"


async def _order_of_tasks() -> list[int]:
    order: list[int] = []

    async def step(number: int) -> None:
        for _ in range(3):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(step(number) for number in range(6)))
    return order


def test_without_a_seed_tasks_run_in_asyncios_order() -> None:
    assert run_virtual(_order_of_tasks) == asyncio.run(_order_of_tasks()) == [0, 1, 2, 3, 4, 5] * 3


def test_a_seed_repeats_its_order_and_others_differ() -> None:
    orders = [run_virtual(_order_of_tasks, seed=seed) for seed in range(20)]
    assert orders == [run_virtual(_order_of_tasks, seed=seed) for seed in range(20)]
    assert len({tuple(order) for order in orders}) == 20


def test_a_seed_holds_tasks_back_for_whole_rounds() -> None:
    # Shuffling alone never lets one task run its second step before another its first.
    orders = [run_virtual(_order_of_tasks, seed=seed) for seed in range(20)]
    assert any(order.index(5) > 6 or order[:6] != sorted(set(order[:6])) for order in orders)
    assert any(len(set(order[:6])) < 6 for order in orders)


def test_each_round_of_a_seeded_loop_runs_a_part_of_what_is_ready() -> None:
    ready = _ShuffledReady(Random(1))
    assert not ready
    running = asyncio.new_event_loop()
    ready.extend(asyncio.Handle(print, (), running) for _ in range(5))
    running.close()
    assert {len(ready) for _ in range(200)} == {1, 2, 3, 4, 5}


def test_a_seed_keeps_the_order_of_plain_callbacks() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        done = asyncio.Event()
        for number in range(50):
            loop().call_soon(seen.append, number)
        loop().call_soon(done.set)
        await done.wait()
        return seen

    for seed in range(20):
        assert run_virtual(main, seed=seed) == list(range(50))


def test_seeds_find_a_claim_race_that_plain_asyncio_hides() -> None:
    async def main() -> int:
        owners: list[int] = []
        free = True

        async def claim(me: int) -> None:
            nonlocal free
            for _ in range(me):
                await asyncio.sleep(0)
            if free:
                await asyncio.sleep(0)
                free = False
                owners.append(me)

        await asyncio.gather(claim(0), claim(5))
        return len(owners)

    assert run_virtual(main) == 1
    assert any(run_virtual(main, seed=seed) == 2 for seed in range(200))


def test_the_clock_reads_the_loop_and_its_wall_clock_can_jump() -> None:
    async def main() -> None:
        clock, bound = VirtualClock(), VirtualClock(loop())
        await asyncio.sleep(10)
        assert clock.monotonic() == bound.monotonic() == 10
        assert clock.time() == bound.time() == EPOCH_S + 10
        clock.wall_offset_s = -3600
        assert clock.time() == EPOCH_S + 10 - 3600
        assert clock.monotonic() == 10

    run_virtual(main)


def test_a_clock_bound_to_a_loop_can_be_read_outside_it() -> None:
    running = VirtualLoop()
    running.run_until_complete(asyncio.sleep(5))
    assert VirtualClock(running).monotonic() == 5
    running.close()


@pytest.mark.parametrize("seed", [None, 1])
def test_debug_mode_works(seed: int | None) -> None:
    def factory(seed: int | None) -> Callable[[], VirtualLoop]:
        return lambda: VirtualLoop(seed)

    async def main() -> float:
        await asyncio.to_thread(int)
        await asyncio.sleep(100)
        return loop().time()

    with asyncio.Runner(debug=True, loop_factory=factory(seed)) as runner:
        assert runner.run(main()) == 100
