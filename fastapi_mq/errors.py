"""What clients see of broker errors: 503 with Retry-After, or close 1013 on a WebSocket."""

from __future__ import annotations

import logging
from typing import Any, cast

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket, WebSocketState

from mqtransport.errors import ChannelError, MessageRefusedError

logger = logging.getLogger("fastapi_mq")

RETRY_AFTER_S = 5
"""What clients are told to wait; about as long as the library's own backoff."""

TRY_AGAIN_LATER = 1013
"""WebSocket close code "Try Again Later" (IANA registry)."""


def install_errors(app: FastAPI) -> None:
    """Map broker errors that leave a route to 503; must be called before the app starts."""
    # Starlette hands WebSockets to the same handler; its annotation knows one or the other.
    if ChannelError not in app.exception_handlers:  # one of the user's own stays
        app.add_exception_handler(ChannelError, cast(Any, _unavailable))


async def _unavailable(connection: HTTPConnection, error: Exception) -> JSONResponse | None:
    if isinstance(error, MessageRefusedError):
        raise error  # the code's fault, not the broker's: 500 and a traceback
    logger.error("%s: %s", _path(connection), error)
    if isinstance(connection, WebSocket):
        if connection.application_state is not WebSocketState.DISCONNECTED:
            await connection.close(code=TRY_AGAIN_LATER)
        return None
    return JSONResponse(
        {"detail": "The message broker is unavailable; try again later."},
        status_code=503,
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _path(connection: HTTPConnection) -> str:
    return repr(connection.url.path)  # repr: a path is foreign text
