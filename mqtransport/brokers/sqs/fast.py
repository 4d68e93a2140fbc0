"""The hot verbs without botocore's pipeline: aiohttp, and a signer that keeps the day's key.

Three quarters of the cost of an aiobotocore call is its pipeline, not the network
(``docs/benchmarks/``). This path leaves that out, and nothing else: it sends through the very
connections that aiobotocore made (its TLS, timeouts, proxies and limits), with its credentials,
to the URL that it chose. All this it learns from the first requests that aiobotocore itself
makes, and only if it signs those requests exactly as aiobotocore did. Else it stays off, says
so once, and aiobotocore goes on making every call.
"""

from __future__ import annotations

import calendar
import hmac
import io
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import JSONParser
from yarl import URL

from mqtransport.brokers.sqs.codec import OPERATIONS, read, write
from mqtransport.brokers.sqs.credentials import Keys
from mqtransport.brokers.sqs.encoding import RAW, Reply
from mqtransport.brokers.sqs.exchange import Answer, Exchange, ExchangeError, Pattern
from mqtransport.brokers.sqs.signing import STAMP, Headers, Signer, canonical_path, host_of
from mqtransport.clock import Clock

LARGE_BYTES = 512 * 1024
"""Larger request bodies are streamed: aiohttp warns of large ones in one piece."""

_ELSEWHERE = (307, 308)
"""Answers that ask for the same request at another place; signed for this one, none is made."""

_JSON = "application/x-amz-json-1.0"
_TARGET = "AmazonSQS."
_FIXED = ("content-type", "x-amzn-query-mode")
_SIGNED = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-target", *_FIXED)
# Two of these botocore adds unsigned, to count its own retries; SQS does not need them.
_OTHERS = ("user-agent", "content-length", "amz-sdk-invocation-id", "amz-sdk-request")
_KNOWN = frozenset((*_SIGNED, *_OTHERS))
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/"
)

# With this, aiobotocore's requests through a proxy name the host in a header of its own.
_PROXY_HOST = "BOTO_EXPERIMENTAL__ADD_PROXY_HOST_HEADER"

_log = logging.getLogger(__name__)


class Session(AIOHTTPSession):  # type: ignore[misc, unused-ignore]
    """aiobotocore's HTTP session, which shows each request to ``path`` before sending it."""

    path: FastPath

    async def send(self, request: Any) -> Any:
        """Send aiobotocore's request."""
        await self.path.learn(self, request)
        return await super().send(request)


@dataclass(frozen=True, slots=True, repr=False)
class Route:
    """How requests go: learnt from aiobotocore's own; no repr, for a proxy's password."""

    session: Any
    url: URL
    signer: Signer
    agent: str
    proxy: Mapping[str, Any]

    async def post(self, headers: Headers, data: bytes | io.BytesIO, **options: Any) -> Answer:
        """Make one request by aiohttp."""
        response = await self.session.post(
            self.url, data=data, headers=headers, allow_redirects=False, **self.proxy, **options
        )
        body = await response.read()  # gives the connection back, or closes it if it fails
        return Answer(response.status, response.headers, body)


class FastPath:
    """The hot verbs of one aiobotocore client.

    Args:
        keys: returns the credentials to sign with now; raises botocore's errors.
        clock: source of the signing time.
    """

    def __init__(self, keys: Callable[[], Awaitable[Keys]], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._route: Route | None = None
        self._off = False
        self._learns = True
        self._exchange: Exchange | None = None

    @property
    def ready(self) -> bool:
        """Whether :meth:`ask` may be called."""
        return self._route is not None and not self._off

    def session_class(self) -> type[Session]:
        """Return the class to hand to aiobotocore as its ``http_session_cls``."""
        return type("Session", (Session,), {"path": self})

    async def learn(self, session: Session, request: Any) -> None:
        """Learn the way from a request that aiobotocore has signed; at most once.

        A request that says nothing, because its credentials have just changed or its body is
        streamed, is passed over; the next will do.
        """
        if self._route is not None or self._off or not isinstance(request.body, bytes):
            return
        try:
            headers = {name.lower(): _text(value) for name, value in request.headers.items()}
            scope = _scope(request, headers)
            keys = await self._keys()
            if scope["key"] == keys.access_key:
                self._route = await self._follow(session, request, headers, scope, keys)
        except (BotoCoreError, OSError):
            # No credentials any more, or no certificates to be read: the request itself tells.
            return
        except (_CannotFollow, AttributeError, LookupError, TypeError, ValueError) as error:
            # aiobotocore has changed, or is told to do what we cannot; its way always works.
            self._switch_off(
                str(error) if isinstance(error, _CannotFollow) else type(error).__name__
            )

    def _switch_off(self, why: str) -> None:
        if not self._off:
            self._off = True
            _log.info("SQS: the fast path is off, aiobotocore makes every call (%s)", why)

    async def ask(self, operation: str, parameters: Mapping[str, Any]) -> Reply:
        """Make one request, one of :data:`OPERATIONS`.

        Raises:
            ClientError: SQS answered an error; the same as aiobotocore would raise.
            BadReplyError: the answer is no object.
            Exception: whatever aiohttp, or the look-up of the credentials, raises.
        """
        name, route = OPERATIONS[operation], self._route
        if route is None:
            raise RuntimeError("the fast path was asked before it was ready")
        body = write(parameters)
        keys = await self._keys()
        headers = route.signer.headers(keys, _TARGET + name, body, self._clock.time())
        headers["User-Agent"] = route.agent
        headers["Accept-Encoding"] = "identity"
        answer = await self._post(route, headers, body)
        if answer.status >= 300:
            if answer.status in _ELSEWHERE:
                self._switch_off("it is sent elsewhere, which aiobotocore follows")
            raise _error(answer, name)
        reply = read(answer.body)
        reply[RAW] = {"headers": answer.headers, "body": answer.body}
        return reply

    async def _post(self, route: Route, headers: Headers, body: bytes) -> Answer:
        """Make a request: as an exchange, once aiohttp has made one that can be followed."""
        if len(body) > LARGE_BYTES:
            return await route.post(headers, io.BytesIO(body))
        if self._exchange is not None:
            try:
                answer = await self._exchange.post(headers, body)
                if "Set-Cookie" in answer.headers:
                    self._keep_to_aiohttp("it is given cookies")
                return answer
            except ExchangeError as error:
                self._keep_to_aiohttp(error)
                if error.sent:
                    raise
        if not self._learns:
            return await route.post(headers, body)
        pattern = Pattern()
        answer = await route.post(headers, body, middlewares=(pattern,))
        self._take_after(pattern, route, headers)
        return answer

    def _take_after(self, pattern: Pattern, route: Route, given: Headers) -> None:
        if self._learns:  # still
            try:
                self._exchange = pattern.exchange(route.session, given)
            except ExchangeError as error:
                self._keep_to_aiohttp(error)

    def _keep_to_aiohttp(self, why: object) -> None:
        self._exchange = None
        if self._learns:
            self._learns = False
            _log.info("SQS: the fast path makes its requests by aiohttp (%s)", why)

    async def _follow(
        self, session: Session, request: Any, headers: Headers, scope: Headers, keys: Keys
    ) -> Route:
        fixed = {name: headers[name] for name in _FIXED if name in headers}
        signer = Signer(
            host_of(request.url),
            canonical_path(request.url),
            scope["region"],
            scope["service"],
            fixed,
        )
        then = calendar.timegm(time.strptime(headers["x-amz-date"], STAMP))
        ours = signer.headers(keys, headers["x-amz-target"], request.body, then)
        if not hmac.compare_digest(ours["Authorization"], headers["authorization"]):
            raise _CannotFollow("its signature is another")
        # Neither this nor _get_session is public, and both are the same in all of aiobotocore 3;
        # without them the path stays off.
        proxies = session._proxy_config
        proxy_url = proxies.proxy_url_for(request.url)
        proxy: dict[str, Any] = {}
        if proxy_url:
            if os.environ.get(_PROXY_HOST):
                raise _CannotFollow("it may tell the proxy the host")
            proxy_headers = proxies.proxy_headers_for(request.url)
            proxy = {"proxy": proxy_url, "proxy_headers": proxy_headers}
        return Route(
            session=await session._get_session(proxy_url),
            url=URL(request.url, encoded=True),
            signer=signer,
            agent=headers["user-agent"],
            proxy=proxy,
        )


class _CannotFollow(Exception):
    """Why aiobotocore's way cannot be followed."""


def _scope(request: Any, headers: Headers) -> Headers:
    """Return key id, region and service of a request's signature."""
    if request.method != "POST" or urlsplit(request.url).query:
        raise _CannotFollow("it does not post")
    if headers["content-type"] != _JSON or not headers["x-amz-target"].startswith(_TARGET):
        raise _CannotFollow("it does not speak the JSON protocol")
    if strange := headers.keys() - _KNOWN:
        raise _CannotFollow(f"it sends {', '.join(sorted(strange))}")
    if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
        # While a function starts there is no trace yet; each invocation then has its own.
        raise _CannotFollow("inside Lambda it sends each invocation's trace")
    found = _AUTHORIZATION.match(headers["authorization"])
    if found is None:
        raise _CannotFollow("it does not sign with Signature Version 4")
    return found.groupdict()


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _error(answer: Answer, operation: str) -> ClientError:
    """Return what aiobotocore would raise: its own parser reads the answer."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    told = {"status_code": answer.status, "headers": headers, "body": answer.body}
    return ClientError(JSONParser().parse(told, None), operation)
