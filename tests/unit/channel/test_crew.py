import asyncio

from fakes import virtually

from mqtransport.channel.crew import Crew


class Bench:
    """Jobs that are done by a crew, each in ``job_s`` seconds."""

    def __init__(self, *, most_idle: int = 8, job_s: float = 1.0) -> None:
        self.crew = Crew(self._work, self.look, most_idle)
        self.jobs = 0
        self.done = 0
        self.over = False
        self.job_s = job_s
        self.looks = 0
        self.workers: list[asyncio.Task[None]] = []
        self.task = asyncio.create_task(self.crew.run(lambda: self.over))

    def look(self) -> None:
        self.looks += 1
        if self.jobs and not self.crew.called:
            self.crew.call()

    def add(self, jobs: int) -> None:
        self.jobs += jobs
        self.look()

    async def _work(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.workers.append(task)
        while not self.over:
            self.crew.arrived()
            if self.jobs:
                self.jobs -= 1
                self.look()
                await asyncio.sleep(self.job_s)
                self.done += 1
            elif not await self.crew.wait():
                return

    async def end(self) -> None:
        self.over = True
        self.crew.call_all()
        await asyncio.wait_for(self.task, 5)


@virtually
async def test_one_worker_does_one_job_after_the_other() -> None:
    bench = Bench()
    for _ in range(5):
        bench.add(1)
        await asyncio.sleep(2)
    assert bench.done == 5
    assert len(bench.workers) == 1
    await bench.end()


@virtually
async def test_jobs_at_the_same_time_have_a_worker_each() -> None:
    bench = Bench()
    bench.add(5)
    await asyncio.sleep(1.5)
    assert bench.done == 5
    assert len(bench.workers) == 5
    await bench.end()
    assert all(worker.done() for worker in bench.workers)


@virtually
async def test_workers_who_are_not_needed_go() -> None:
    bench = Bench(most_idle=2)
    bench.add(5)
    await asyncio.sleep(1.5)
    assert sum(worker.done() for worker in bench.workers) == 3
    await bench.end()


@virtually
async def test_a_worker_that_was_called_and_cancelled_is_replaced() -> None:
    bench = Bench()
    bench.add(1)
    await asyncio.sleep(2)
    bench.add(1)  # called
    bench.workers[0].cancel()  # and cancelled before it looks
    await asyncio.sleep(2)
    assert bench.done == 2
    await bench.end()


@virtually
async def test_a_worker_that_was_cancelled_before_its_first_step_is_replaced() -> None:
    bench = Bench()
    await asyncio.sleep(0)
    before = asyncio.all_tasks()
    bench.add(1)
    await asyncio.sleep(0)
    (worker,) = asyncio.all_tasks() - before
    worker.cancel()
    await asyncio.sleep(2)
    assert bench.done == 1
    await bench.end()


@virtually
async def test_an_earlier_look_comes_first_and_a_later_one_takes_no_timer_more() -> None:
    bench = Bench()
    now = asyncio.get_running_loop().time()
    bench.crew.look_later(now, 10)
    bench.crew.look_later(now, 5)
    bench.crew.look_later(now, 7)
    bench.crew.look_later(now, float("inf"))
    await asyncio.sleep(5.5)
    assert bench.looks == 1
    await asyncio.sleep(10)
    assert bench.looks == 1
    bench.crew.look_later(now, 5)
    bench.crew.clear()
    await asyncio.sleep(10)
    assert bench.looks == 1
    await bench.end()
