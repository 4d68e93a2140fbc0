"""The one table that turns everything SQS, botocore and aiohttp may raise into our errors.

Codes come with and without the ``AWS.SimpleQueueService.`` prefix, as names of the JSON
model and as names of the older query protocol, so they are matched by their last part.
AWS's own error texts hold account ids and ARNs; they stay in the chained cause.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from mqtransport.errors import (
    AccessDeniedError,
    BrokerError,
    BrokerUnavailableError,
    CredentialsError,
    QueueNotFoundError,
    RefusedError,
    StaleReceiptError,
    ThrottledError,
)


class Verdict(NamedTuple):
    """What an error means: its class, and whether SQS may have done the work all the same."""

    error: type[BrokerError]
    maybe_done: bool = False


_UNAVAILABLE = Verdict(BrokerUnavailableError)
_LOST = Verdict(BrokerUnavailableError, maybe_done=True)
_THROTTLED = Verdict(ThrottledError)
_CREDENTIALS = Verdict(CredentialsError)
_DENIED = Verdict(AccessDeniedError)
_MISSING = Verdict(QueueNotFoundError)
_STALE = Verdict(StaleReceiptError)
_REFUSED = Verdict(RefusedError)

_GROUPS: tuple[tuple[Verdict, str], ...] = (
    # The queue, by its JSON and its query protocol name. InvalidAddress is SQS's answer to
    # a queue URL that is none of its own.
    (_MISSING, "QueueDoesNotExist NonExistentQueue InvalidAddress ResourceNotFoundException"),
    (_STALE, "ReceiptHandleIsInvalid MessageNotInflight InvalidIdFormat"),
    # OverLimit: too many messages in flight; the last two pass after 60 seconds.
    (_THROTTLED, "RequestThrottled KmsThrottled OverLimit PurgeQueueInProgress"),
    (_THROTTLED, "QueueDeletedRecently Throttling ThrottlingException ThrottledException"),
    (_THROTTLED, "RequestThrottledException TooManyRequestsException RequestLimitExceeded"),
    (_THROTTLED, "SlowDown BandwidthLimitExceeded PriorRequestNotComplete"),
    (_CREDENTIALS, "ExpiredToken ExpiredTokenException InvalidClientTokenId RequestExpired"),
    (_CREDENTIALS, "InvalidAccessKeyId SignatureDoesNotMatch InvalidSignatureException"),
    (_CREDENTIALS, "UnrecognizedClientException IncompleteSignature AuthFailure"),
    (_CREDENTIALS, "MissingAuthenticationToken MissingAuthenticationTokenException"),
    (_CREDENTIALS, "IncompleteSignatureException RequestTimeTooSkewed InvalidToken"),
    (_CREDENTIALS, "NotSignedException InvalidSecurity"),
    (_DENIED, "AccessDenied AccessDeniedException NotAuthorized UnauthorizedOperation"),
    (_DENIED, "OptInRequired SubscriptionRequiredException"),
    # A queue whose KMS key cannot be used stays unusable until an operator acts.
    (_DENIED, "KmsAccessDenied KmsDisabled KmsInvalidKeyUsage KmsInvalidState KmsNotFound"),
    (_DENIED, "KmsOptInRequired DisabledException InvalidKeyUsageException"),
    (_DENIED, "InvalidStateException NotFoundException"),
    (_REFUSED, "BatchEntryIdsNotDistinct BatchRequestTooLong EmptyBatchRequest"),
    (_REFUSED, "InvalidBatchEntryId TooManyEntriesInBatchRequest UnsupportedOperation"),
    (_REFUSED, "InvalidAttributeName InvalidAttributeValue InvalidMessageContents"),
    (_REFUSED, "InvalidParameterValue InvalidParameterCombination MissingParameter"),
    (_REFUSED, "InvalidParameterValueException MissingRequiredParameterException"),
    (_REFUSED, "InvalidAction UnknownOperationException SerializationException"),
    (_REFUSED, "ValidationError ValidationException MalformedQueryString MissingAction"),
    (_REFUSED, "QueueNameExists QueueAlreadyExists InvalidQueryParameter"),
    (_LOST, "InternalError InternalFailure InternalServerError InternalServiceError"),
    (_LOST, "ServiceUnavailable ServiceUnavailableException ServiceFailure"),
    (_LOST, "RequestTimeout RequestTimeoutException InternalException"),
)

TABLE: Mapping[str, Verdict] = {
    code: verdict for verdict, codes in _GROUPS for code in codes.split()
}
"""Every code that SQS is known to answer, by the last part of its name."""

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}\Z")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}\Z")
# Some emulators answer a refused signature in XML, which botocore passes on as the text.
_XML_CODE = re.compile(r"<Code>([A-Za-z][A-Za-z0-9._-]{0,99})</Code>")
# SQS has no code of its own for these (documentation of ChangeMessageVisibility and
# DeleteMessage): the receipt's delivery is over.
_STALE_TEXT = re.compile(r"does not exist or is not available|receipt handle has expired", re.I)

_HINTS: Mapping[type[BrokerError], str] = {
    BrokerUnavailableError: "check MQ_URL, MQ_REGION and the network",
    ThrottledError: "SQS asks to slow down",
    CredentialsError: "check MQ_USERNAME and MQ_PASSWORD, or the AWS default chain",
    QueueNotFoundError: (
        "check the queue's setting MQ_QUEUE_<NAME> and MQ_REGION, or let MQ_CREATE_QUEUES create it"
    ),
    StaleReceiptError: "the lease ended or the delivery was settled already",
    RefusedError: "SQS will not accept this, however often it is tried",
}


@dataclass(frozen=True, slots=True)
class Call:
    """What was attempted, for the error's text.

    Attributes:
        verb: the action, as in "cannot <verb> queue 'orders'".
        permission: the IAM action it needs.
        queue: the queue as the caller named it.
        region: the region in use.
    """

    verb: str
    permission: str
    queue: str
    region: str

    def error(self, verdict: Verdict, found: str, *, hint: str | None = None) -> BrokerError:
        """Return the error that says what was attempted, what was found and what to do."""
        if hint is None:
            denied = f"allow {self.permission} (and the queue's KMS key, if it has one)"
            hint = _HINTS.get(verdict.error, denied)
        return verdict.error(
            f"SQS: cannot {self.verb} queue {shown(self.queue)} in region {self.region}: "
            f"{found}; {hint}",
            queue=self.queue,
            maybe_done=verdict.maybe_done,
        )

    def lost(self, found: str) -> BrokerError:
        """Return the error for an answer that proves nothing: it may have been done."""
        return self.error(_LOST, found)

    def refused(self, why: str) -> BrokerError:
        """Return the error for something that SQS would refuse; no call was made."""
        return self.error(_REFUSED, why, hint="no call was made")

    def missing(self, why: str) -> BrokerError:
        """Return the error for a queue that cannot exist; no call was made."""
        return self.error(_MISSING, why)


class BadReplyError(Exception):
    """An answer with a good status that is none of SQS's; inside this package only."""


def shown(queue: str) -> str:
    """Return the queue's bare name, quoted: URLs and ARNs hold the account id."""
    return repr(re.split(r"[/:]", queue)[-1][:80])


def classify(code: object, *, status: int = 0, text: str = "") -> Verdict:
    """Return what an error answer means.

    Args:
        code: SQS's code; botocore gives the HTTP status where the answer had none.
        status: the HTTP status; 0 for an entry of a batch.
        text: SQS's own text; some codes mean two things.
    """
    name = _last_part(code) or _last_part_of_xml(text)
    if name is not None and name in TABLE:
        stale = TABLE[name] is _REFUSED and _STALE_TEXT.search(text)
        return _STALE if stale else TABLE[name]
    if status == 429:
        return _THROTTLED
    if status in (401, 403):
        # Without a code it need not come from SQS at all (a proxy), so it proves nothing.
        return _DENIED if name is not None and status == 403 else _CREDENTIALS
    if 400 <= status < 500 and status != 408 and name is not None:
        return _REFUSED
    return _LOST


def from_entry(call: Call, entry: Mapping[str, Any]) -> BrokerError:
    """Return the error of one entry in the ``Failed`` list of a batch answer."""
    code, text = entry.get("Code"), entry.get("Message")
    verdict = classify(code, text=text if isinstance(text, str) else "")
    if _last_part(code) not in TABLE and entry.get("SenderFault") is True:
        verdict = _REFUSED
    return call.error(verdict, f"SQS answered {_shown_code(code)} for this entry")


def from_exception(call: Call, exc: Exception) -> BrokerError:
    """Return our error for whatever a call of the client raised."""
    # Not at module level: the driver is constructed without importing any of it.
    from botocore.exceptions import ClientError

    if isinstance(exc, ClientError):
        return _from_answer(call, exc.response)
    if isinstance(exc, BadReplyError):
        return call.lost(str(exc))
    verdict, found = _from_type(exc)
    return call.error(verdict, found)


def _from_answer(call: Call, response: Mapping[str, Any]) -> BrokerError:
    error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    status, text = meta.get("HTTPStatusCode", 0), str(error.get("Message", ""))
    code, request_id = error.get("Code"), str(meta.get("RequestId", ""))
    name = _shown_code(code if _last_part(code) else _last_part_of_xml(text))
    found = f"SQS answered {name}, HTTP {status}"
    if _REQUEST_ID.match(request_id):
        found += f", request id {request_id}"
    return call.error(classify(code, status=status, text=text), found)


def _from_type(exc: Exception) -> tuple[Verdict, str]:
    import aiohttp
    from aiohttp.http import HttpProcessingError
    from botocore import exceptions as boto

    found = f"{type(exc).__name__}"
    credentials = (
        boto.NoCredentialsError,
        boto.PartialCredentialsError,
        boto.CredentialRetrievalError,
        boto.MetadataRetrievalError,
        boto.UnknownCredentialError,
        boto.RefreshWithMFAUnsupportedError,
        boto.TokenRetrievalError,
        boto.NoAuthTokenError,
        boto.SSOError,
        boto.ProfileNotFound,
    )
    configuration = (
        boto.BaseEndpointResolverError,  # NoRegionError among others
        boto.EndpointProviderError,
        boto.InvalidRegionError,
        boto.UnknownRegionError,
        boto.ConfigNotFound,
        boto.ConfigParseError,
        boto.InvalidProxiesConfigError,
        boto.ParamValidationError,
    )
    # These end before the request is written, so nothing was done. ConnectTimeoutError is
    # no HTTPClientError and EndpointConnectionError is raised for refused and reset alike.
    connecting = (
        boto.ConnectTimeoutError,
        boto.SSLError,
        boto.ProxyConnectionError,
        aiohttp.ConnectionTimeoutError,
        aiohttp.ClientSSLError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ClientProxyConnectionError,
    )
    if isinstance(exc, credentials):
        return _CREDENTIALS, f"no credentials could be used ({found})"
    if isinstance(exc, configuration):
        return _REFUSED, f"the AWS configuration cannot be used ({found})"
    if isinstance(exc, connecting):
        return _UNAVAILABLE, f"no connection ({found})"
    reason = exc.kwargs.get("error") if isinstance(exc, boto.EndpointConnectionError) else exc
    if isinstance(reason, aiohttp.ClientConnectorError):
        to = f"{reason.host}:{reason.port}"
        return _UNAVAILABLE, f"no connection to {to} (refused, or the host is unknown)"
    if isinstance(reason, socket.gaierror):
        return _UNAVAILABLE, "no connection (the host is unknown)"
    if isinstance(exc, TimeoutError | boto.ReadTimeoutError):
        return _LOST, "no answer in time"
    if isinstance(exc, boto.BotoCoreError | aiohttp.ClientError | HttpProcessingError | OSError):
        return _LOST, f"the connection broke ({found})"
    # The parser trips over replies that are JSON but not SQS's: AttributeError, TypeError...
    return _LOST, f"the answer could not be read ({found})"


def _last_part(code: object) -> str | None:
    if isinstance(code, str) and _CODE.match(code):
        return code.rsplit(".", 1)[-1]
    return None


def _last_part_of_xml(text: str) -> str | None:
    found = _XML_CODE.search(text)
    return found.group(1).rsplit(".", 1)[-1] if found else None


def _shown_code(code: object) -> str:
    return _last_part(code) or "without an error code"
