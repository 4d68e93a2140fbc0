"""The demo: run the orders example under uvicorn and use it as a client would."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import httpx

ORDERS = [1, 2, 3]
PATIENCE_S = 15.0


def main() -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true", help="exit after the round")
    parser.add_argument("--port", type=int, default=0, help="port to serve on; 0 takes a free one")
    arguments = parser.parse_args()
    port = arguments.port or free_port()
    served = ["examples.orders.app:app", "--port", str(port), "--log-level", "warning"]
    server = subprocess.Popen([sys.executable, "-m", "uvicorn", *served])
    try:
        done = play_round(f"http://127.0.0.1:{port}", server)
        if done and not arguments.once:
            stay_up(port, server)
    finally:
        stopped = stop(server)
    print("the demo worked" if done and stopped else "the demo FAILED")
    return 0 if done and stopped else 1


def play_round(url: str, server: subprocess.Popen[bytes]) -> bool:
    """Post orders, wait until they are handled, ask for health."""
    with httpx.Client(base_url=url, timeout=5.0) as client:
        if not until(lambda: server.poll() is not None or is_up(client)) or server.poll():
            print("the server did not come up")
            return False
        for order in ORDERS:
            answer = client.post("/orders", json={"id": order})
            print(f"POST /orders {{'id': {order}}}  ->  {answer.status_code}")
        handled = until(lambda: set(ORDERS) <= set(client.get("/handled").json()))
        print(f"GET  /handled  ->  {client.get('/handled').text}")
        health = client.get("/health/mq")
        print(f"GET  /health/mq  ->  {health.status_code} {health.text}")
        return handled and health.status_code == 200


def is_up(client: httpx.Client) -> bool:
    """Whether the server answers."""
    try:
        return client.get("/health/mq/ready").status_code == 200
    except httpx.TransportError:
        return False


def until(condition: Callable[[], bool]) -> bool:
    """Wait for the condition, for a while."""
    deadline = time.monotonic() + PATIENCE_S
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def stay_up(port: int, server: subprocess.Popen[bytes]) -> None:
    """Leave the server to the reader until they press Ctrl-C."""
    print(f"""
The server stays up; press Ctrl-C to end it. In another terminal:

  curl -i http://127.0.0.1:{port}/orders -H 'content-type: application/json' -d '{{"id": 4}}'
  curl -i http://127.0.0.1:{port}/handled
  curl -i http://127.0.0.1:{port}/health/mq
""")
    try:
        server.wait()
    except KeyboardInterrupt:
        print()


def stop(server: subprocess.Popen[bytes]) -> bool:
    """End the server gracefully; False if it had to be killed or had failed."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
    try:
        # uvicorn ends by the signal it was sent, after its graceful shutdown.
        return server.wait(timeout=PATIENCE_S + 30) in (0, -signal.SIGTERM, -signal.SIGINT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
