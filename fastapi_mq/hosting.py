"""What can be wrong with the place where an application runs; each is one warning at start."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from mqtransport import MQApp

logger = logging.getLogger("fastapi_mq")


def warn_if_wrapped(app: FastAPI, ours: object) -> None:
    """Warn if a router with a lifespan was included after ``FastMQ(app)``.

    Its startup then runs after the consumers have started, and its teardown before they stop.
    """
    context = app.router.lifespan_context
    if context is ours:
        return
    if all(_does_nothing(nested) for nested in _nested(context, ours)):
        return  # include_router merges a default lifespan of every router, also of empty ones
    logger.warning(
        "a lifespan was added after FastMQ(app): it starts after the consumers and stops before "
        "them. Call FastMQ().init_app(app) after the last include_router, or nest "
        "mq.lifespan(app) innermost in your own lifespan."
    )


def _nested(context: Any, ours: object) -> Iterator[object]:
    """Yield the lifespans that FastAPI merged around ours; an unknown wrapper as itself."""
    if context is ours:
        return
    plain = inspect.unwrap(context)
    names = inspect.getclosurevars(plain).nonlocals if inspect.isfunction(plain) else {}
    if "original_context" not in names or "nested_context" not in names:
        yield context
        return
    yield from _nested(names["original_context"], ours)
    yield from _nested(names["nested_context"], ours)


def _does_nothing(lifespan: object) -> bool:
    """Whether it is the default lifespan of a router without start and stop handlers."""
    if type(lifespan).__name__ != "_DefaultLifespan":
        return False
    router = getattr(lifespan, "_router", None)
    handlers = [*getattr(router, "on_startup", ()), *getattr(router, "on_shutdown", ())]
    return not handlers


def warn_if_memory_is_split(mq_app: MQApp) -> None:
    """Warn if several server processes each have a memory broker of their own."""
    if mq_app.broker.capabilities.name != "memory" or _worker_count() < 2:
        return
    logger.warning(
        "several workers run, and each has its own memory broker: a message is only handled in "
        "the process that sent it. Use one worker, or a broker that processes share."
    )


def _worker_count() -> int:
    # uvicorn's workers are children that still hold the parent's command line (measured).
    value = os.environ.get("WEB_CONCURRENCY", "1")
    if multiprocessing.parent_process() is not None:
        words = " ".join(sys.argv).replace("=", " ").split()
        if "--workers" in words[:-1]:
            value = words[words.index("--workers") + 1]
    return int(value) if value.isdigit() else 1
