"""A fault proxy: it stands in front of an SQS endpoint and spoils chosen requests.

It knows just enough HTTP to tell requests apart by their action and to find where messages end:
requests with ``Content-Length`` (all that botocore and aiohttp send), responses with
``Content-Length`` or chunked. Faults happen on real sockets, as in production.
"""

from __future__ import annotations

from mqtransport.testing.proxy.modes import MODES, Answer, Mode, ModeName
from mqtransport.testing.proxy.rules import Met, Rule
from mqtransport.testing.proxy.server import FaultProxy

__all__ = ["MODES", "Answer", "FaultProxy", "Met", "Mode", "ModeName", "Rule"]
