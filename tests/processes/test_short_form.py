"""The short form of the design, word for word, under uvicorn; on SQS by settings alone."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.support import free_port, process

SERVICES = Path(__file__).parents[1] / "services"
PATIENCE_S = 30.0

pytestmark = pytest.mark.process


@pytest.mark.parametrize("broker", ["embedded", "sqs"])
def test_an_order_posted_is_handled(broker: str) -> None:
    with SQSDouble.in_thread() as double:
        double.create_queue("orders")
        settings = {}
        if broker == "sqs":
            settings = {
                "MQ_BROKER": "sqs",
                "MQ_URL": double.url,
                "MQ_REGION": "us-east-1",
                "MQ_USERNAME": "key",
                "MQ_PASSWORD": "secret",
                "MQ_WAIT_S": "1",
            }
        port = free_port()
        arguments = ["-m", "uvicorn", "short_form:app", "--port", str(port)]
        with process(*arguments, cwd=SERVICES, **settings) as server:
            wait_until_up(f"http://127.0.0.1:{port}", server)
            posted = httpx.post(f"http://127.0.0.1:{port}/orders", json={"id": 41})
            health = httpx.get(f"http://127.0.0.1:{port}/health/mq")
            printed = read_until(server, "order 41")
            server.send_signal(signal.SIGTERM)
            rest, _ = server.communicate(timeout=PATIENCE_S)

        assert posted.status_code == 202
        assert (health.status_code, health.json()) == (200, {"status": "pass"})
        assert "order 41" in printed
        assert server.returncode in (0, -signal.SIGTERM), rest
        sent = double.requests["SendMessageBatch"]
        assert sent == (1 if broker == "sqs" else 0)
        assert double.counts("orders") == (0, 0, 0)


def wait_until_up(url: str, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if httpx.get(f"{url}/health/mq/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise AssertionError(f"the server did not come up: {server.communicate()[0]}")
        time.sleep(0.05)


def read_until(server: subprocess.Popen[str], wanted: str) -> str:
    """Read the server's output up to the line that holds the text; the test's limit bounds it."""
    lines = []
    for line in server.stdout or ():
        lines.append(line)
        if wanted in line:
            break
    return "".join(lines)
