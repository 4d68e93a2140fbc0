"""What the proxy can do to a request, as one table that tests can iterate over."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Literal

from ..sqs_double.errors import KINDS, ErrorKind
from ..sqs_double.framing import canned_response

ModeName = Literal[
    "reset_before",
    "reset_during",
    "reset_after",
    "hang",
    "hang_after",
    "delay",
    "slow",
    "truncate",
    "truncate_body",
    "truncate_chunks",
    "garbage",
    "garbage_empty",
    "http_500",
    "http_503",
    "request_throttled",
    "throttling_exception",
    "expired_token",
    "invalid_client_token_id",
    "signature_does_not_match",
    "missing_authentication_token",
    "access_denied",
    "access_denied_exception",
    "access_denied_xml",
]

Answer = Literal["none", "part", "garbage", "error", "whole"]
"""What the client gets: nothing; a part; status 200 with a content that is none of SQS's; a whole
answer that says the request failed; the endpoint's own answer, late."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One thing that can be done to a request.

    Attributes:
        name: for :meth:`FaultProxy.add` and in the log.
        arrives: whether the endpoint gets the whole request, and so may carry it out.
        answer: what the client gets.
        canned: the answer that the proxy gives itself; None if it gives none of its own.
    """

    name: ModeName
    arrives: bool
    answer: Answer
    canned: bytes | None = field(default=None, repr=False)

    @property
    def answered(self) -> bool:
        """Whether the client gets a whole answer, be it true or not."""
        return self.answer in ("garbage", "error", "whole")

    def __str__(self) -> str:
        return self.name


def _refusal(kind: ErrorKind, text: str, *, query_code: bool = True) -> bytes:
    """Return an error as SQS says it in the JSON protocol, as the double does."""
    fault = "Sender" if kind.sender_fault else "Receiver"
    headers = {"x-amzn-RequestId": "00000000-0000-4000-8000-000000000000"}
    if query_code:
        headers["x-amzn-query-error"] = f"{kind.code};{fault}"
    document = json.dumps({"__type": kind.type_name, "message": text}).encode()
    status = f"{kind.status} {_REASONS[kind.status]}"
    return canned_response(status, "application/x-amz-json-1.0", document, headers)


_REASONS = {400: "Bad Request", 403: "Forbidden", 500: "Internal Server Error"}
_EXPIRED = KINDS["ExpiredTokenException"]
_SIGNATURE = KINDS["InvalidSignatureException"]
_DENIED = KINDS["AccessDeniedException"]
_DENIED_TEXT = "User is not authorized to perform this action on this resource."
# As moto answers for IAM; botocore looks for JSON in it and then only knows the status.
_XML = b"""<?xml version="1.0" encoding="utf-8"?>
<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>User is not authorized \
to perform this action on this resource.</Message></Error></Errors></ErrorResponse>"""

MODES: tuple[Mode, ...] = (
    Mode("reset_before", False, "none"),
    Mode("reset_during", False, "none"),
    Mode("reset_after", True, "none"),
    Mode("hang", False, "none"),
    Mode("hang_after", True, "none"),
    Mode("delay", True, "whole"),
    Mode("slow", True, "whole"),
    Mode("truncate", True, "part"),
    Mode("truncate_body", True, "part"),
    Mode("truncate_chunks", True, "part"),
    Mode(
        "garbage",
        False,
        "garbage",
        canned_response("200 OK", "text/html", b"<html>It works!</html>"),
    ),
    Mode(
        "garbage_empty",
        False,
        "garbage",
        canned_response("200 OK", "application/x-amz-json-1.0", b"{}"),
    ),
    Mode("http_500", False, "error", _refusal(KINDS["InternalFailure"], "Try again later.")),
    Mode(
        "http_503",
        False,
        "error",
        canned_response("503 Service Unavailable", "text/plain", b"Service Unavailable"),
    ),
    Mode(
        "request_throttled",
        False,
        "error",
        _refusal(KINDS["RequestThrottled"], "The request was denied due to request throttling."),
    ),
    Mode(
        "throttling_exception",
        False,
        "error",
        _refusal(KINDS["ThrottlingException"], "Rate exceeded"),
    ),
    Mode(
        "expired_token",
        False,
        "error",
        _refusal(_EXPIRED, "The security token included in the request is expired"),
    ),
    Mode(
        "invalid_client_token_id",
        False,
        "error",
        _refusal(
            KINDS["UnrecognizedClientException"],
            "The security token included in the request is invalid.",
        ),
    ),
    Mode(
        "signature_does_not_match",
        False,
        "error",
        _refusal(_SIGNATURE, "The request signature we calculated does not match."),
    ),
    Mode(
        "missing_authentication_token",
        False,
        "error",
        _refusal(
            KINDS["MissingAuthenticationTokenException"],
            "Request is missing Authentication Token",
        ),
    ),
    Mode("access_denied", False, "error", _refusal(_DENIED, _DENIED_TEXT)),
    Mode(
        "access_denied_exception",
        False,
        "error",
        _refusal(_DENIED, _DENIED_TEXT, query_code=False),
    ),
    Mode(
        "access_denied_xml",
        False,
        "error",
        canned_response("403 Forbidden", "application/xml", _XML),
    ),
)
"""Every mode, so that a sweep can say ``for mode in MODES``."""

BY_NAME: dict[str, Mode] = {mode.name: mode for mode in MODES}
"""Every mode by its name."""
