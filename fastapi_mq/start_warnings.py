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


def warn_if_nobody_consumes(mq_app: MQApp) -> None:
    """Warn of messages that this application sends, and that nobody can handle.

    A queue that it consumes too, but not by that name; and, on the memory broker, which is
    private to the application, a queue that it does not consume at all.
    """
    private = mq_app.broker.capabilities.name == "memory"
    dead_letters = {channel.dead_letter_queue for channel in mq_app.consuming_channels}
    for channel in mq_app.producing_channels:
        consuming = mq_app.consuming_channel(channel.name)
        sent = {producer.name for producer in channel.producers}
        if consuming is not None:
            known = {consumer.name for consumer in consuming.consumers}
            if unknown := sorted(sent - known):
                logger.warning(
                    "queue %r: this application sends %s but consumes only %s from it",
                    channel.name,
                    ", ".join(map(repr, unknown)),
                    ", ".join(map(repr, sorted(known))),
                )
        elif private and sent and channel not in dead_letters:
            logger.warning(
                "queue %r: this application sends to it and does not consume it, and nobody else "
                "can: its memory broker is private to it",
                channel.name,
            )


def _worker_count() -> int:
    # uvicorn's workers are children that still hold the parent's command line (measured).
    value = os.environ.get("WEB_CONCURRENCY", "1")
    if multiprocessing.parent_process() is not None:
        words = " ".join(sys.argv).replace("=", " ").split()
        if "--workers" in words[:-1]:
            value = words[words.index("--workers") + 1]
    return int(value) if value.isdigit() else 1
