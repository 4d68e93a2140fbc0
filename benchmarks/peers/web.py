"""One measurement of a FastAPI application: the CPU that its server uses per request.

``python -m benchmarks.peers.web KIND COUNT`` starts the server and is the load on it.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.measuring import Result, cpu_s, tell
from benchmarks.message import order
from benchmarks.peers import web_load
from benchmarks.peers.sqs_driving import run
from benchmarks.peers.web_app import CONNECTIONS, ROUTE
from benchmarks.stub_control import Control

WARM = 1000


def measure(kind: str, count: int) -> Result:
    """Start the server, load it, and return what it used."""
    stub, asks_sqs = Control.of_environment(), kind.startswith("sqs")
    if asks_sqs:
        stub.create()
    command = [sys.executable, "-m", "benchmarks.peers.web_app", kind]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            if server.stdout is None or not (line := server.stdout.readline()):
                raise RuntimeError(f"the server of {kind} did not start")
            port = int(json.loads(line)["port"])
            _load(port, WARM)
            if asks_sqs:
                stub.reset()
            before, own_s, began = used(port), cpu_s(), time.perf_counter()
            _load(port, count)
            wall_s, own_s, after = time.perf_counter() - began, cpu_s() - own_s, used(port)
        finally:
            server.terminate()
            server.wait(60)
    return {
        "messages": count,
        "wall_s": wall_s,
        "cpu_us": (after["cpu_s"] - before["cpu_s"]) * 1e6,
        "load_cpu_us": own_s * 1e6,
        "peak_bytes": after["peak_bytes"],
        "requests": stub.stats()["requests"] if asks_sqs else {},
    }


def used(port: int) -> dict[str, Any]:
    """Ask the server what it has used so far."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/used")
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return found


def _load(port: int, count: int) -> None:
    request = web_load.post(ROUTE, order(1).model_dump_json().encode())
    run(web_load.run(port, request, count, connections=CONNECTIONS, status=202))


if __name__ == "__main__":
    tell(measure(sys.argv[1], int(sys.argv[2])))
