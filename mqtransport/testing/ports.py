"""Ports of servers that go away and come back."""

from __future__ import annotations

import socket


def hold_port(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, but does not listen: connects are refused.

    While it is open nobody else gets the port: no server by asking for a free one, and no client
    as the near end of a connection. Call ``listen`` on it to serve.

    Args:
        host: the address.
        port: the port; 0 takes a free one.

    Raises:
        OSError: somebody else has the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    held = socket.socket(family, socket.SOCK_STREAM)
    try:
        # As asyncio does: connections that linger from before must not keep us from the port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held
