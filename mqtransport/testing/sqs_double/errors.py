"""The errors of SQS: names, codes and HTTP statuses, as AWS publishes them.

The names come from the service model (``service-2.json``, shipped in botocore); the codes of the
older query protocol and the statuses from the ``awsQueryError`` traits of the same model, as the
AWS SDK for JavaScript ships it (``@aws-sdk/client-sqs`` 3.1175, ``schemas_0.js``). The errors in
the namespace ``com.amazon.coral.*`` are common to all AWS services ("Common Error Types" in the
Amazon SQS API Reference) and are not in the model.
"""

from __future__ import annotations

from dataclasses import dataclass

_MODEL = "com.amazonaws.sqs"
_COMMON = "com.amazon.coral.service"


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One kind of error.

    Args:
        shape: the name in ``__type``; SDKs choose the exception class by it.
        code: the code of the query protocol, sent in ``x-amzn-query-error``.
        status: HTTP status.
        namespace: what stands before ``#`` in ``__type``.
        sender_fault: whether the caller is to blame.
        has_message: whether the model gives the shape a ``message`` member.
    """

    shape: str
    code: str
    status: int = 400
    namespace: str = _MODEL
    sender_fault: bool = True
    has_message: bool = True

    @property
    def type_name(self) -> str:
        """The value of ``__type``."""
        return f"{self.namespace}#{self.shape}"


def _prefixed(shape: str, status: int = 400, code: str = "", has_message: bool = True) -> ErrorKind:
    return ErrorKind(
        shape, f"AWS.SimpleQueueService.{code or shape}", status, has_message=has_message
    )


_KINDS = (
    _prefixed("BatchEntryIdsNotDistinct"),
    _prefixed("BatchRequestTooLong"),
    _prefixed("EmptyBatchRequest"),
    ErrorKind("InvalidAddress", "InvalidAddress", 404),
    ErrorKind("InvalidAttributeName", "InvalidAttributeName"),
    ErrorKind("InvalidAttributeValue", "InvalidAttributeValue"),
    _prefixed("InvalidBatchEntryId"),
    ErrorKind("InvalidIdFormat", "InvalidIdFormat", has_message=False),
    ErrorKind("InvalidMessageContents", "InvalidMessageContents"),
    ErrorKind("InvalidSecurity", "InvalidSecurity", 403),
    ErrorKind("KmsAccessDenied", "KMS.AccessDeniedException"),
    ErrorKind("KmsDisabled", "KMS.DisabledException"),
    ErrorKind("KmsInvalidKeyUsage", "KMS.InvalidKeyUsageException"),
    ErrorKind("KmsInvalidState", "KMS.InvalidStateException"),
    ErrorKind("KmsNotFound", "KMS.NotFoundException"),
    ErrorKind("KmsOptInRequired", "KMS.OptInRequired", 403),
    ErrorKind("KmsThrottled", "KMS.ThrottlingException"),
    _prefixed("MessageNotInflight", has_message=False),
    ErrorKind("OverLimit", "OverLimit", 403),
    _prefixed("PurgeQueueInProgress", 403),
    _prefixed("QueueDeletedRecently"),
    _prefixed("QueueDoesNotExist", code="NonExistentQueue"),
    ErrorKind("QueueNameExists", "QueueAlreadyExists"),
    ErrorKind("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid", 404),
    ErrorKind("RequestThrottled", "RequestThrottled", 403),
    ErrorKind("ResourceNotFoundException", "ResourceNotFoundException", 404),
    _prefixed("TooManyEntriesInBatchRequest"),
    _prefixed("UnsupportedOperation"),
    ErrorKind("AccessDeniedException", "AccessDenied", 403, _COMMON),
    ErrorKind("ExpiredTokenException", "ExpiredToken", 403, _COMMON),
    ErrorKind("IncompleteSignatureException", "IncompleteSignature", 403, _COMMON),
    ErrorKind("InternalFailure", "InternalFailure", 500, _COMMON, sender_fault=False),
    ErrorKind("InvalidParameterValueException", "InvalidParameterValue", 400, _COMMON),
    ErrorKind("InvalidSignatureException", "SignatureDoesNotMatch", 403, _COMMON),
    ErrorKind("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, _COMMON),
    ErrorKind("MissingRequiredParameterException", "MissingParameter", 400, _COMMON),
    ErrorKind("NotAuthorized", "NotAuthorized", 401, _COMMON),
    ErrorKind("OptInRequired", "OptInRequired", 403, _COMMON),
    ErrorKind("RequestExpired", "RequestExpired", 400, _COMMON),
    ErrorKind("RequestTimeoutException", "RequestTimeout", 408, _COMMON),
    ErrorKind("SerializationException", "MalformedInput", 400, _COMMON),
    ErrorKind(
        "ServiceUnavailableException", "ServiceUnavailable", 503, _COMMON, sender_fault=False
    ),
    ErrorKind(
        "ThrottlingException", "ThrottlingException", 400, "com.amazon.coral.availability", False
    ),
    ErrorKind("UnknownOperationException", "InvalidAction", 400, _COMMON),
    ErrorKind("UnrecognizedClientException", "InvalidClientTokenId", 403, _COMMON),
    ErrorKind("ValidationError", "ValidationError", 400, _COMMON),
)

KINDS = {kind.shape: kind for kind in _KINDS}
"""Every error that the double can answer with, by the name in ``__type``."""

KEY_ERRORS = tuple(kind.shape for kind in _KINDS if kind.shape.startswith("Kms"))
"""What sending to and receiving from a queue may answer when its KMS key cannot be used."""

_BY_CODE = {kind.code: kind for kind in _KINDS}


class SQSError(Exception):
    """An error as SQS answers it.

    Args:
        kind: its name in ``__type``, as ``QueueDoesNotExist``, or its code, as ``OverLimit``.
        message: the text for people.
    """

    def __init__(self, kind: str, message: str = "") -> None:
        super().__init__(message)
        self.kind = kind_of(kind)
        self.message = message


def kind_of(name: str) -> ErrorKind:
    """Return the kind with this name or code; an unknown one is an internal error of that name."""
    found = KINDS.get(name) or _BY_CODE.get(name)
    return found or ErrorKind(name, name, 500, _COMMON, sender_fault=False)


def invalid_parameter(name: str, value: object, reason: str) -> SQSError:
    """Return the ``InvalidParameterValue`` error for a parameter, in the words of AWS."""
    text = f"Value {value} for parameter {name} is invalid. Reason: {reason}"
    return SQSError("InvalidParameterValue", text)


def wrong_queue_type(name: str, value: object) -> SQSError:
    """Return the error for a parameter that the other type of queue takes, in the words of AWS."""
    reason = "The request include parameter that is not valid for this queue type"
    return invalid_parameter(name, value, reason)


def missing_parameter(name: str) -> SQSError:
    """Return the error for a parameter that is required and absent or empty."""
    return SQSError("MissingParameter", f"The request must contain the parameter {name}.")
