"""Which foreign exceptions may stand in a traceback below our error: none that quotes a secret."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def shown_cause(exc: Exception) -> Exception | None:
    """Return what may stand in a traceback as the cause of our error.

    Foreign texts quote what they stumbled over: the URL of a proxy, with its password, or a piece
    of an answer, with a message's body. Our error names the type all the same.
    """
    return None if any(_quotes(one) for one in _with_causes(exc)) else exc


def _with_causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield all that a traceback would show, and what botocore's exceptions wrap."""
    found: list[BaseException] = [exc]
    for one in found:  # which grows
        yield one
        given: Any = getattr(one, "kwargs", None)
        wrapped = given.get("error") if isinstance(given, dict) else None
        for other in (wrapped, one.__cause__, one.__context__):
            if isinstance(other, BaseException) and not any(other is known for known in found):
                found.append(other)


def _quotes(exc: BaseException) -> bool:
    import aiohttp
    from aiohttp.http import HttpProcessingError
    from botocore.parsers import ResponseParserError

    answers = (
        HttpProcessingError,
        ResponseParserError,
        aiohttp.ClientPayloadError,
        aiohttp.ClientResponseError,
        aiohttp.ServerDisconnectedError,
    )
    return isinstance(exc, answers) or "@" in str(exc)
