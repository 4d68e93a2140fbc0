"""run_forever ends on a signal, gracefully; on stop; and raises when a channel dies."""

import asyncio
import signal
from pathlib import Path

import pytest

from mqtransport import ChannelError, MQApp
from mqtransport.brokers.memory import MemoryBroker
from mqtransport.message import RawDelivery
from tests.contract.support import Number, consumer, eventually
from tests.processes.support import process

SERVICE = """
import asyncio
from pydantic import BaseModel
from mqtransport import Consumer, MQApp

class MC(Consumer):
    name = "number"
    class Model(BaseModel):
        n: int
    async def consume(self, msg: Model, mq_app: MQApp) -> None:
        print("started", flush=True)
        await asyncio.sleep(0.5)
        print("finished", flush=True)

async def main() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_consuming_channel("numbers")
    channel.add_consumer(MC())
    out = await app.create_producing_channel("numbers")
    await app.start()
    await out.send_message("number", {"n": 1})
    await app.run_forever()
    print("counts", channel.counts.acked, channel.counts.released, flush=True)
    await app.shutdown()

asyncio.run(main())
"""


@pytest.mark.process
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_handler_finish_and_ends_with_status_0(
    number: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "service.py"
    path.write_text(SERVICE, encoding="utf-8")
    with process(str(path)) as service:
        assert service.stdout is not None
        assert service.stdout.readline() == "started\n"
        service.send_signal(number)
        rest, _ = service.communicate(timeout=30)
    assert rest.splitlines() == ["finished", "counts 1 0"]
    assert service.returncode == 0


TWO_APPS = """
import asyncio
from mqtransport import MQApp

async def serve(name: str) -> None:
    app = await MQApp.connect("memory://")
    await app.create_producing_channel("numbers")
    await app.start()
    running = asyncio.create_task(app.run_forever())
    await asyncio.sleep(0)
    print("runs", name, flush=True)
    await running
    print("ended", name, flush=True)
    await app.shutdown()

async def main() -> None:
    await asyncio.gather(serve("a"), serve("b"))

asyncio.run(main())
"""


@pytest.mark.process
def test_every_app_of_a_process_hears_of_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "two.py"
    path.write_text(TWO_APPS, encoding="utf-8")
    with process(str(path)) as service:
        assert service.stdout is not None
        assert {service.stdout.readline(), service.stdout.readline()} == {"runs a\n", "runs b\n"}
        service.send_signal(signal.SIGTERM)
        rest, _ = service.communicate(timeout=30)
    assert sorted(rest.splitlines()) == ["ended a", "ended b"]
    assert service.returncode == 0


async def handle(body: Number) -> None:
    return None


async def test_it_starts_the_app_if_need_be_and_ends_on_stop() -> None:
    app = await MQApp.connect("memory://")
    channel = await app.create_consuming_channel("numbers")
    channel.add_consumer(consumer(handle))
    running = asyncio.create_task(app.run_forever(handle_signals=False))
    async with asyncio.timeout(10):
        await eventually(lambda: app.running, "started")
        await app.stop()
        await running
    await app.shutdown()


class Defective(MemoryBroker):
    """A driver with a bug."""

    async def receive(self, *args: object, **kwargs: object) -> list[RawDelivery]:
        raise KeyError("a defect")


async def test_it_raises_when_a_channel_dies() -> None:
    broker = Defective()
    await broker.connect()
    app = MQApp(broker)
    channel = await app.create_consuming_channel("numbers")
    channel.add_consumer(consumer(handle))
    async with asyncio.timeout(10):
        with pytest.raises(ChannelError, match="a channel died") as caught:
            await app.run_forever()
    assert isinstance(caught.value.__cause__, KeyError)
    await app.shutdown()
