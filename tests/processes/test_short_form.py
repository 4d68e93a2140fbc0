"""The short form of the design, word for word, under uvicorn; on SQS by settings alone."""

import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.support import process

SERVICES = Path(__file__).parents[1] / "services"
PATIENCE_S = 30.0

pytestmark = [pytest.mark.process, pytest.mark.timeout(PATIENCE_S * 2)]


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
        arguments = ["-m", "uvicorn", "short_form:app", "--port", "0"]
        with process(*arguments, cwd=SERVICES, **settings) as server:
            url = read_until(server, "running on http").split("running on ")[1].split()[0]
            posted = httpx.post(f"{url}/orders", json={"id": 41})
            health = httpx.get(f"{url}/health/mq")
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


def read_until(server: subprocess.Popen[str], wanted: str) -> str:
    """Read the server's output up to the line that holds the text; the test's limit bounds it."""
    lines = []
    for line in server.stdout or ():
        lines.append(line)
        if wanted in line:
            return "".join(lines)
    raise AssertionError(f"the server ended without {wanted!r}: {''.join(lines)}")
