"""Starts the SQS stub, and asks it how many requests were made."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.environments import ROOT

QUEUE = "orders"
WAIT_S = 600.0
"""Longest run of a consumer."""


@contextlib.contextmanager
def started(
    python: Path | None = None, *, latency_ms: float = 0, tls: bool = False
) -> Iterator[dict[str, str]]:
    """Run a stub; yields the environment variables with which clients reach it.

    Args:
        python: an interpreter, if possible one with uvloop and orjson.
        latency_ms: how long every answer takes.
        tls: serve HTTPS, with a certificate of its own.
    """
    command = [str(python or sys.executable), "-m", "benchmarks.stub"]
    command += ["--latency-ms", str(latency_ms), *(["--tls"] if tls else [])]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=ROOT, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as stub:
        try:
            if stub.stdout is None or not (line := stub.stdout.readline()):
                raise RuntimeError("the stub did not start")
            told = json.loads(line)
            names = ("BENCH_CA", "AWS_CA_BUNDLE", "SSL_CERT_FILE") if tls else ()
            yield {
                "BENCH_URL": told["url"],
                "NO_PROXY": "127.0.0.1",
                "AWS_ENDPOINT_URL": told["url"],
                "AWS_ACCESS_KEY_ID": "any",
                "AWS_SECRET_ACCESS_KEY": "any",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                **{name: told["ca"] for name in names},
            }
        finally:
            stub.terminate()
            stub.wait(10)


class Control:
    """The stub's own requests, from within a measured process; each blocks."""

    def __init__(self, url: str, ca: str | None = None) -> None:
        self._parts = urlsplit(url)
        self._context = ssl.create_default_context(cafile=ca) if ca else None

    @classmethod
    def of_environment(cls) -> Control:
        """Return the control of the stub that the environment names."""
        return cls(os.environ["BENCH_URL"], os.environ.get("BENCH_CA"))

    def create(self) -> None:
        """Make the queue."""
        headers = {"X-Amz-Target": "AmazonSQS.CreateQueue"}
        self._ask("POST", "/", json.dumps({"QueueName": QUEUE}), headers)

    def reset(self) -> None:
        """Count requests from here."""
        self._ask("GET", f"/reset?queue={QUEUE}")

    def pause(self) -> None:
        """Hide what is in the queue."""
        self._ask("GET", f"/pause?queue={QUEUE}")

    def resume(self) -> None:
        """Show it again."""
        self._ask("GET", f"/resume?queue={QUEUE}")

    def stats(self) -> dict[str, Any]:
        """Return the requests per action, and what is in the queue."""
        return self._ask("GET", f"/stats?queue={QUEUE}")

    def wait(self) -> dict[str, Any]:
        """Wait until all messages have been deleted; return the stats of that moment."""
        return self._ask("GET", f"/wait?queue={QUEUE}")

    def _ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        host, port = str(self._parts.hostname), self._parts.port
        if self._context is None:
            connection = http.client.HTTPConnection(host, port, timeout=WAIT_S)
        else:
            connection = http.client.HTTPSConnection(
                host, port, timeout=WAIT_S, context=self._context
            )
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
        return answer
