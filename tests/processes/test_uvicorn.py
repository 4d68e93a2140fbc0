"""The plugin under the real server: signals, exit codes, several workers."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mqtransport.testing.sqs_double import SQSDouble

pytestmark = [pytest.mark.process, pytest.mark.timeout(90)]

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0
SERVE = [sys.executable, "-m", "uvicorn", "served:app", "--port", "0"]

APP = """
import asyncio
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from fastapi_mq import MQ, FastMQ, MQApp, Producer
from pydantic import BaseModel


class Order(BaseModel):
    id: int


@asynccontextmanager
async def lifespan(app):
    try:
        yield
    finally:
        print("user down, queues closed:", app.state.kept.closed, flush=True)


app = FastAPI(lifespan=lifespan)
mq = FastMQ(app)
orders = mq.producer("orders", Order)


@mq.consumer("orders")
async def handle(order: Order, mq_app: MQApp) -> None:
    print("handler began", flush=True)
    while mq_app.running:  # ends only after the stop began
        await asyncio.sleep(0.01)
    print("handler finished", flush=True)


@app.post("/orders", status_code=202)
async def place(order: Order, producer: Annotated[Producer[Order], Depends(orders)], q: MQ) -> None:
    app.state.kept = q
    await producer.send(order)


@app.get("/stream")
async def stream(q: MQ) -> StreamingResponse:
    app.state.kept = q

    async def chunks():
        yield b"first"
        await asyncio.Event().wait()

    return StreamingResponse(chunks())
"""


class Server:
    """uvicorn in a process of its own, and the lines that it prints."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        (folder / "served.py").write_text(APP)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MQ_", "WEB_", "AWS_"))}
        clean["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder)])
        self.process = subprocess.Popen(
            # The short form's test takes the loop that uvicorn prefers.
            [*SERVE, "--loop", "asyncio", *arguments],
            cwd=folder,
            env={**clean, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that its workers can be ended with it
        )
        self.output: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        while True:
            line = self._lines.get(timeout=WAIT_S)
            assert line is not None, f"no {pattern!r} in {''.join(self.output)}"
            self.output.append(line)
            if found := re.search(pattern, line):
                return found

    def url(self) -> str:
        return self.wait_for(r"running on (http://\S+)").group(1)

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        while (line := self._lines.get(timeout=WAIT_S)) is not None:
            self.output.append(line)
        return code

    @property
    def text(self) -> str:
        return "".join(self.output)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session, see above
            self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def served(folder: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    server = Server(folder, *arguments, **settings)
    try:
        yield server
    finally:
        server.close()


def test_sigterm_lets_a_running_handler_finish_and_exits_well(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        url = server.url()
        assert httpx.post(f"{url}/orders", json={"id": 1}, timeout=WAIT_S).status_code == 202
        server.wait_for("handler began")
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("handler finished")
        server.wait_for("user down, queues closed: True")
        code = server.ended()
        assert "Application shutdown complete" in server.text
        assert "Traceback" not in server.text
        # uvicorn raises the signal again when all is done (Server.capture_signals).
        assert code in (0, -signal.SIGTERM)


def test_a_broker_that_refuses_fails_the_start_and_is_named(
    tmp_path: Path, closed_url: str
) -> None:
    settings = {
        "MQ_BROKER": "sqs",
        "MQ_URL": closed_url,
        "MQ_REGION": "eu-west-1",
        "MQ_USERNAME": "AKIAIOSFODNN7EXAMPLE",
        "MQ_PASSWORD": "canary-of-a-secret",
    }
    with served(tmp_path, **settings) as server:
        assert server.ended() not in (0, None)
        for word in ("SQS", "'orders'", "MQ_URL"):
            assert word in server.text
        assert "canary-of-a-secret" not in server.text
        assert "AKIAIOSFODNN7EXAMPLE" not in server.text
        assert "Unclosed" not in server.text
        assert "never retrieved" not in server.text


def test_a_missing_queue_fails_the_start_and_is_named(tmp_path: Path) -> None:
    with SQSDouble.in_thread() as double:
        settings = {
            "MQ_BROKER": "sqs",
            "MQ_URL": double.url,
            "MQ_REGION": "eu-west-1",
            "MQ_USERNAME": "u",
            "MQ_PASSWORD": "canary-of-a-secret",
        }
        with served(tmp_path, **settings) as server:
            assert server.ended() not in (0, None)
            for word in ("SQS", "'orders'", "MQ_QUEUE_", "MQ_CREATE_QUEUES"):
                assert word in server.text
            assert "canary-of-a-secret" not in server.text
            assert "Unclosed" not in server.text


def test_sigterm_with_an_open_stream_still_runs_the_shutdown(tmp_path: Path) -> None:
    with served(tmp_path, "--timeout-graceful-shutdown", "1") as server:
        url = server.url()
        with httpx.stream("GET", f"{url}/stream", timeout=WAIT_S) as answer:
            assert next(answer.iter_bytes()) == b"first"
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("user down, queues closed: True")
            assert server.ended() in (0, -signal.SIGTERM)


def test_a_second_sigint_still_closes_the_queues(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        url = server.url()
        with httpx.stream("GET", f"{url}/stream", timeout=WAIT_S) as answer:
            assert next(answer.iter_bytes()) == b"first"
            httpx.post(f"{url}/orders", json={"id": 1}, timeout=WAIT_S)
            server.wait_for("handler began")
            server.process.send_signal(signal.SIGINT)
            server.wait_for("Shutting down")
            # uvicorn now skips the shutdown event: the lifespan's task is cancelled instead.
            server.process.send_signal(signal.SIGINT)
            server.wait_for("user down, queues closed: True")
            server.ended()
    assert "was destroyed but it is pending" not in server.text
    assert "never retrieved" not in server.text
    assert "died; restart" not in server.text


def test_two_workers_on_the_memory_broker_are_warned(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", "2") as server:
        server.wait_for("several workers run")
        server.wait_for("several workers run")
        server.process.send_signal(signal.SIGTERM)
        server.ended()
        assert server.text.count("several workers run") == 2
