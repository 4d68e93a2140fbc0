"""The class form of the design runs word for word, in one process and as two services."""

from pathlib import Path

import pytest

from mqtransport.testing.sqs_double import SQSDouble
from tests.processes.support import process

SOURCE = Path(__file__).parents[1] / "services" / "class_form.py"

pytestmark = pytest.mark.process


@pytest.fixture(params=["plain", "postponed annotations"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The class form, with and without ``from __future__ import annotations``."""
    text = SOURCE.read_text(encoding="utf-8")
    if request.param != "plain":
        text = text.replace(
            "import asyncio", "from __future__ import annotations\nimport asyncio", 1
        )
    path = tmp_path / "service.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_it_runs_in_one_process(service: Path) -> None:
    with SQSDouble.in_thread() as double:
        double.create_queue("orders")
        double.create_queue("orders-dlq")
        with process(str(service), "both", double.url, MQ_WAIT_S="1") as both:
            output, _ = both.communicate(timeout=60)
        assert both.returncode == 0, output
        assert "both saw [7, 8] unsent {}" in output
        assert double.counts("orders") == (0, 0, 0)


def test_two_services_talk_over_sqs_as_two_processes(service: Path) -> None:
    with SQSDouble.in_thread() as double:
        double.create_queue("orders")
        double.create_queue("orders-dlq")
        with (
            process(str(service), "consumer", double.url, MQ_WAIT_S="1") as consumer,
            process(str(service), "producer", double.url, MQ_WAIT_S="1") as producer,
        ):
            produced, _ = producer.communicate(timeout=60)
            consumed, _ = consumer.communicate(timeout=60)
        assert producer.returncode == 0, produced
        assert consumer.returncode == 0, consumed
        assert "consumer saw [7, 8]" in consumed
        assert double.counts("orders") == (0, 0, 0)
        assert double.counts("orders-dlq") == (0, 0, 0)
