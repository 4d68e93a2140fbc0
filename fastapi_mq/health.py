"""Health endpoints: the broker ping, the process's own channels, readiness.

One ping serves every prober (single flight), a result is kept for a while, and each answer
comes within a second, whatever the broker does. Bodies say a status and an error class.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import Scope

from fastapi_mq.dependencies import find_mq
from mqtransport import MQApp
from mqtransport.channel.base import Trouble
from mqtransport.errors import BrokerError, MQTransportError

logger = logging.getLogger("fastapi_mq")

GOOD_FOR_S = 5.0
BAD_FOR_S = 1.0

TROUBLE_FOR_S = 60.0
"""A send, ack or dead letter copy that failed counts for so long, unless one succeeds."""

ANSWER_WITHIN_S = 0.8
"""How long an answer waits for the ping: below Kubernetes's default probe timeout of 1 s."""

HEALTH_KEY = "mq_health"
"""The key under which the lifespan state, and ``app.state``, hold the HealthCheck."""


@dataclass(frozen=True, slots=True)
class Health:
    """One answer.

    Attributes:
        status: ``pass``, ``warn`` (works, but somebody should look) or ``fail``.
        error: a short error class; never foreign text.
    """

    status: Literal["pass", "warn", "fail"]
    error: str | None = None

    def response(self) -> JSONResponse:
        """Return it as HTTP: 200 for pass and warn, 503 for fail."""
        body: dict[str, str] = {"status": self.status}
        if self.error is not None:
            body["error"] = self.error
        return JSONResponse(
            body,
            status_code=503 if self.status == "fail" else 200,
            headers={"Cache-Control": "no-store"},
            media_type="application/health+json",  # draft-inadarei-api-health-check
        )


PASS = Health("pass")


class HealthCheck:
    """Judges one running MQApp.

    Args:
        app: the app.
        broker_critical: whether readiness fails when the broker is unreachable.
    """

    def __init__(self, app: MQApp, *, broker_critical: bool = False) -> None:
        self._app = app
        self._broker_critical = broker_critical
        self._clock = app.clock
        self._ping: asyncio.Task[str | None] | None = None
        self._last: tuple[float, str | None] | None = None  # when it is stale, what was wrong

    async def report(self) -> Health:
        """Judge everything: the channels of this process, and the broker by a ping."""
        if self._app.closed:
            return Health("fail", "not_started")
        live = self.live()
        if live.status == "fail":
            return live
        error = await self._broker_error()
        if error is not None:
            return Health("fail", error)
        return self._channel_warning() or PASS

    def live(self) -> Health:
        """Judge the process alone; never calls the broker.

        Fails only when a restart would help: a channel's task died, or a channel is wedged.
        """
        if any(channel.failure is not None for channel in self._app.channels):
            return Health("fail", "channel_died")
        if any(channel.wedged for channel in self._app.channels):
            return Health("fail", "channel_wedged")
        return PASS

    async def ready(self) -> Health:
        """Judge whether requests should come here.

        Fails when not started, draining or wrongly configured; an unreachable broker is a
        warning, unless ``broker_critical``.
        """
        if self._app.closed or (self._app.channels and not self._app.running):
            return Health("fail", "not_started")
        for error in self._current_errors():
            if error.fatal:
                return Health("fail", error.label)
        report = await self.report()
        if report.status == "fail" and not self._broker_critical:
            live = self.live()
            return live if live.status == "fail" else Health("warn", report.error)
        return report

    async def aclose(self) -> None:
        """End a ping that is still under way."""
        if self._ping is not None and not self._ping.done():
            self._ping.cancel()
            await asyncio.wait({self._ping}, timeout=1.0)

    async def _broker_error(self) -> str | None:
        """Return what is wrong with the broker, as a label; None if nothing is."""
        now = self._clock.monotonic()
        if self._last is not None and now < self._last[0]:
            return self._last[1]
        if self._ping is None or self._ping.done():
            self._ping = asyncio.create_task(self._do_ping(), name="mqtransport ping")
        # Waited for, not awaited: a prober who goes away must not end the others' ping.
        await asyncio.wait({self._ping}, timeout=ANSWER_WITHIN_S)
        if not self._ping.done() or self._ping.cancelled():
            return "timeout"
        return self._ping.result()

    async def _do_ping(self) -> str | None:
        error: str | None = None
        try:
            await self._app.ping()
        except BrokerError as caught:
            error = caught.label
        except MQTransportError:
            error = "closed"
        except Exception:  # the edge of a task: a driver's defect is a failure like any other
            logger.exception("the ping of the broker raised what no driver should raise")
            error = "error"
        keep_s = GOOD_FOR_S if error is None else BAD_FOR_S
        self._last = (self._clock.monotonic() + keep_s, error)
        return error

    def _channel_warning(self) -> Health | None:
        if errors := self._current_errors():
            return Health("warn", errors[0].label)
        if any(
            one.dead_letter_failures and self._is_fresh(one.dead_letter_failed_at)
            for one in self._app.consuming_channels
        ):
            return Health("warn", "dead_letter_failed")
        return None

    def _current_errors(self) -> list[BrokerError]:
        """Return what still is the matter with polls and sends, then with settles."""
        troubles = [(one.trouble, one.kind == "consuming") for one in self._app.channels]
        troubles += [(one.settle_trouble, False) for one in self._app.consuming_channels]
        found = [self._current_error(trouble, polls=polls) for trouble, polls in troubles]
        return [error for error in found if error is not None]

    def _current_error(self, trouble: Trouble, *, polls: bool) -> BrokerError | None:
        """Return what still is the matter with a channel.

        Polls go on by themselves, so their last error is the current one. Sends and settles do
        not: without a good one, the last failure counts for a while. A good ping does not end
        it, because it does not prove that they work.
        """
        if trouble.error is None or polls or self._is_fresh(trouble.bad_at):
            return trouble.error
        return None

    def _is_fresh(self, at: float | None) -> bool:
        return at is not None and self._clock.monotonic() - at < TROUBLE_FOR_S


class HealthRouter(APIRouter):
    """A router whose paths all contain one literal text.

    An included router tries its routes on every request that no route before it has taken: 6 us
    of CPU for our three, 5 % of a small request that has nothing to do with queues. One look
    at the path spares that.

    Args:
        literal: the text; empty if there is none, as in a path with parameters.
    """

    def __init__(self, literal: str) -> None:
        super().__init__()
        self._literal = literal

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a route matches; where inclusion copies the routes, nobody asks."""
        # Anywhere in it: the root path and a prefix of the inclusion come before.
        if self._literal not in scope["path"]:
            return Match.NONE, {}
        return super().matches(scope)


def make_health_router(path: str) -> APIRouter:
    """Return a router with the three endpoints; it has no lifespan of its own.

    Args:
        path: where the report lives; ``/live`` and ``/ready`` lie below it.
    """
    router = HealthRouter("" if "{" in path else path)

    async def report(request: Request) -> JSONResponse:
        check = _find_check(request)
        return (await check.report() if check else Health("fail", "not_started")).response()

    async def live(request: Request) -> JSONResponse:
        check = _find_check(request)
        return (check.live() if check else PASS).response()

    async def ready(request: Request) -> JSONResponse:
        check = _find_check(request)
        return (await check.ready() if check else Health("fail", "not_started")).response()

    for suffix, endpoint in (("", report), ("/live", live), ("/ready", ready)):
        router.add_api_route(
            path + suffix,
            endpoint,
            methods=["GET", "HEAD"],
            include_in_schema=False,
            response_model=None,
        )
    return router


def _find_check(request: Request) -> HealthCheck | None:
    if find_mq(request) is None:
        return None
    found = request.scope.get("state", {}).get(HEALTH_KEY)
    if found is None:
        found = getattr(request.app.state, HEALTH_KEY, None)
    return found if isinstance(found, HealthCheck) else None
