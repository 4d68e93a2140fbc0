"""``python -m mqtransport.testing.sqs_double``: the double as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal

from .double import SQSDouble


def main() -> None:
    """Serve until SIGTERM or SIGINT; the first line printed is the endpoint's URL."""
    parser = argparse.ArgumentParser(
        prog="python -m mqtransport.testing.sqs_double", description="A strict double of Amazon SQS"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port; 0 takes a free one")
    parser.add_argument(
        "--queue",
        action="append",
        default=[],
        metavar="NAME",
        help="create this queue (*.fifo: a FIFO one); repeatable",
    )
    parser.add_argument("--access-key", help="refuse all other access keys")
    options = parser.parse_args()
    asyncio.run(_serve(options.host, options.port, options.queue, options.access_key))


async def _serve(host: str, port: int, queues: list[str], access_key: str | None) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with SQSDouble(host=host, port=port, expected_access_key=access_key) as double:
        for name in queues:
            double.create_queue(name, **({"FifoQueue": True} if name.endswith(".fifo") else {}))
        print(double.url, flush=True)
        await stopped.wait()


if __name__ == "__main__":
    main()
