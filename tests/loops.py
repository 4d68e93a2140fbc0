"""The event loops that applications run on, as parameters of anyio's backend."""

import sys

import pytest

UVLOOP = pytest.param(
    ("asyncio", {"use_uvloop": True}),
    marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop on Windows"),
    id="uvloop",
)
LOOPS = [pytest.param("asyncio", id="asyncio"), UVLOOP]
