"""The error table: complete over the model, by type before code before status, and discreet."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from aiohttp import ClientConnectorError, ClientOSError
from aiohttp.client_reqrep import ConnectionKey
from botocore import exceptions as boto
from botocore.loaders import Loader
from botocore.model import ServiceModel

from mqtransport.brokers.sqs.errors import (
    TABLE,
    BadReplyError,
    Call,
    classify,
    from_entry,
    from_exception,
    shown,
)
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

CALL = Call("send to", "sqs:SendMessage", "orders", "eu-west-1")
URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"


def client_error(
    code: str, status: int, text: str = "", request_id: str = "r-1"
) -> boto.ClientError:
    response = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": request_id},
    }
    return boto.ClientError(response, "SendMessageBatch")


def connector_error(inner: OSError) -> ClientConnectorError:
    key = ConnectionKey("sqs.invalid", 443, True, True, None, None, None)
    return ClientConnectorError(key, inner)


def model_errors() -> set[str]:
    model = ServiceModel(Loader().load_service_model("sqs", "service-2"), "sqs")
    return {shape.name for shape in model.error_shapes}


def test_the_table_names_every_error_shape_of_the_model():
    shapes = model_errors()
    assert len(shapes) >= 28
    assert shapes - TABLE.keys() == set()


def test_no_code_stands_in_two_groups():
    from mqtransport.brokers.sqs import errors

    codes = [code for _, codes in errors._GROUPS for code in codes.split()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("code", sorted(TABLE))
def test_a_code_means_the_same_with_and_without_the_old_prefix(code: str):
    assert classify(code, status=400) == classify(f"AWS.SimpleQueueService.{code}", status=400)
    assert classify(code, status=400) == TABLE[code]


@pytest.mark.parametrize(
    ("code", "status", "expected", "maybe_done"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", 400, QueueNotFoundError, False),
        ("QueueDoesNotExist", 400, QueueNotFoundError, False),
        ("InvalidAddress", 404, QueueNotFoundError, False),
        ("RequestThrottled", 403, ThrottledError, False),
        ("ThrottlingException", 400, ThrottledError, False),
        ("OverLimit", 403, ThrottledError, False),
        ("KMS.ThrottlingException", 400, ThrottledError, False),
        ("KMS.DisabledException", 400, AccessDeniedError, False),
        ("ExpiredToken", 403, CredentialsError, False),
        ("InvalidClientTokenId", 403, CredentialsError, False),
        ("SignatureDoesNotMatch", 403, CredentialsError, False),
        ("AccessDenied", 403, AccessDeniedError, False),
        ("AccessDeniedException", 400, AccessDeniedError, False),
        ("ReceiptHandleIsInvalid", 404, StaleReceiptError, False),
        ("InvalidMessageContents", 400, RefusedError, False),
        ("InternalFailure", 500, BrokerUnavailableError, True),
        ("BrandNewCode", 503, BrokerUnavailableError, True),
        ("BrandNewCode", 429, ThrottledError, False),
        ("BrandNewCode", 403, AccessDeniedError, False),
        ("BrandNewCode", 401, CredentialsError, False),
        ("BrandNewCode", 400, RefusedError, False),
        ("BrandNewCode", 408, BrokerUnavailableError, True),
        ("302", 302, BrokerUnavailableError, True),
        # botocore puts the status where the answer had no code: not an answer of SQS.
        ("500", 500, BrokerUnavailableError, True),
        ("404", 404, BrokerUnavailableError, True),
        ("400", 400, BrokerUnavailableError, True),
        ("403", 403, CredentialsError, False),
        ("401", 401, CredentialsError, False),
        ("", 0, BrokerUnavailableError, True),
        (None, 502, BrokerUnavailableError, True),
    ],
)
def test_an_answer_is_classified_by_code_then_by_status(
    code: Any, status: int, expected: type[BrokerError], maybe_done: bool
):
    verdict = classify(code, status=status)
    assert (verdict.error, verdict.maybe_done) == (expected, maybe_done)


def test_an_xml_answer_is_classified_by_the_code_inside():
    text = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>"
    assert classify("403", status=403, text=text).error is CredentialsError
    error = from_exception(CALL, client_error("403", 403, text))
    assert "SignatureDoesNotMatch" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "Value x for parameter ReceiptHandle is invalid. Reason: Message does not exist or is "
        "not available for visibility timeout change.",
        "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
    ],
)
def test_an_invalid_value_that_speaks_of_a_past_delivery_is_a_stale_receipt(text: str):
    assert classify("InvalidParameterValue", status=400, text=text).error is StaleReceiptError


def test_a_lease_beyond_the_total_limit_is_refused():
    text = (
        "Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout "
        "for the message is beyond the limit [43200 seconds]."
    )
    assert classify("InvalidParameterValue", status=400, text=text).error is RefusedError


class TestEntries:
    def test_an_unknown_code_is_judged_by_sender_fault(self):
        ours = from_entry(CALL, {"Id": "0", "Code": "Odd", "SenderFault": True})
        theirs = from_entry(CALL, {"Id": "0", "Code": "Odd", "SenderFault": False})
        assert type(ours) is RefusedError
        assert type(theirs) is BrokerUnavailableError

    def test_a_throttle_stays_a_throttle_although_the_sender_is_blamed(self):
        error = from_entry(CALL, {"Id": "0", "Code": "RequestThrottled", "SenderFault": True})
        assert type(error) is ThrottledError

    def test_an_internal_error_is_retryable_although_the_sender_is_blamed(self):
        error = from_entry(CALL, {"Id": "0", "Code": "InternalError", "SenderFault": True})
        assert type(error) is BrokerUnavailableError

    @pytest.mark.parametrize("entry", [{}, {"Code": 7}, {"Code": None, "Message": 3}])
    def test_a_malformed_entry_is_no_success(self, entry: dict[str, Any]):
        assert type(from_entry(CALL, entry)) is BrokerUnavailableError


@pytest.mark.parametrize(
    ("exc", "expected", "maybe_done"),
    [
        (boto.NoCredentialsError(), CredentialsError, False),
        (boto.PartialCredentialsError(provider="env", cred_var="x"), CredentialsError, False),
        (
            boto.CredentialRetrievalError(provider="sso", error_msg="x"),
            CredentialsError,
            False,
        ),
        (boto.SSOTokenLoadError(error_msg="x"), CredentialsError, False),
        (boto.ProfileNotFound(profile="x"), CredentialsError, False),
        (boto.NoRegionError(), RefusedError, False),
        (boto.InvalidRegionError(region_name="x"), RefusedError, False),
        (
            boto.EndpointConnectionError(
                endpoint_url=URL, error=connector_error(ConnectionRefusedError(111, "refused"))
            ),
            BrokerUnavailableError,
            False,
        ),
        (
            boto.EndpointConnectionError(endpoint_url=URL, error=socket.gaierror(-2, "unknown")),
            BrokerUnavailableError,
            False,
        ),
        (
            boto.EndpointConnectionError(endpoint_url=URL, error=ClientOSError(104, "reset")),
            BrokerUnavailableError,
            True,
        ),
        (boto.EndpointConnectionError(endpoint_url=URL), BrokerUnavailableError, True),
        (boto.ConnectTimeoutError(endpoint_url=URL), BrokerUnavailableError, False),
        (boto.SSLError(endpoint_url=URL, error="x"), BrokerUnavailableError, False),
        (boto.ProxyConnectionError(proxy_url=URL), BrokerUnavailableError, False),
        (boto.ReadTimeoutError(endpoint_url=URL), BrokerUnavailableError, True),
        (boto.ConnectionClosedError(endpoint_url=URL), BrokerUnavailableError, True),
        (boto.HTTPClientError(error=RuntimeError("x")), BrokerUnavailableError, True),
        (TimeoutError(), BrokerUnavailableError, True),
        (ClientOSError(104, "reset"), BrokerUnavailableError, True),
        (ConnectionResetError(), BrokerUnavailableError, True),
        (AttributeError("'list' object has no attribute 'get'"), BrokerUnavailableError, True),
        (RecursionError(), BrokerUnavailableError, True),
        (BadReplyError("odd"), BrokerUnavailableError, True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_a_failure_without_an_answer_is_classified_by_its_type(
    exc: Exception, expected: type[BrokerError], maybe_done: bool
):
    error = from_exception(CALL, exc)
    assert (type(error), error.maybe_done) == (expected, maybe_done)


def test_every_botocore_exception_becomes_a_broker_error():
    for name, kind in vars(boto).items():
        if isinstance(kind, type) and issubclass(kind, boto.BotoCoreError):
            exc = kind.__new__(kind)
            exc.kwargs = {}
            assert isinstance(from_exception(CALL, exc), BrokerError), name


class TestMessages:
    def test_a_missing_queue_names_queue_region_and_settings(self):
        error = from_exception(CALL, client_error("QueueDoesNotExist", 400))
        for part in ("'orders'", "eu-west-1", "MQ_QUEUE_<NAME>", "MQ_REGION", "MQ_CREATE_QUEUES"):
            assert part in str(error)
        assert error.queue == "orders"

    def test_a_denial_names_the_permission(self):
        assert "sqs:SendMessage" in str(from_exception(CALL, client_error("AccessDenied", 403)))

    def test_foreign_text_never_gets_into_the_message(self):
        text = f"User: arn:aws:iam::123456789012:user/AKIACANARY may not send to {URL} CANARY"
        call = Call("send to", "sqs:SendMessage", URL, "eu-west-1")
        for exc in (
            client_error("AccessDenied", 403, text),
            client_error("Evil\nCode CANARY", 400, text),
            client_error("AccessDenied", 403, text, request_id="CANARY\n"),
            boto.EndpointConnectionError(endpoint_url=URL + "CANARY"),
            AttributeError(text),
        ):
            for part in ("CANARY", "123456789012", "https://", "arn:", "\n"):
                assert part not in str(from_exception(call, exc))
        entry = {"Code": "Evil CANARY", "Message": text, "SenderFault": True}
        assert "CANARY" not in str(from_entry(call, entry))

    @pytest.mark.parametrize("queue", ["orders", URL, "arn:aws:sqs:eu-west-1:123456789012:orders"])
    def test_a_queue_is_shown_by_its_bare_name(self, queue: str):
        assert shown(queue) == "'orders'"
