"""The wire of SQS: entries of its calls, and what its answers prove; no I/O.

Ids of batch entries are positions: a delivery that stands twice in a batch must not make
SQS refuse all of it (``BatchEntryIdsNotDistinct``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mqtransport.broker import QueueInfo, QueueOptions
from mqtransport.brokers.sqs.errors import BadReplyError, Call, from_entry
from mqtransport.errors import BrokerError
from mqtransport.message import Attribute, Outgoing, RawDelivery

Reply = Mapping[str, Any]  # botocore's parsed answers carry no types; all is checked here
Entry = dict[str, Any]

RAW = "mqtransport.raw"
"""Key under which the client keeps the raw answer (``headers`` and ``body``) in the parsed one."""

SYSTEM_ATTRIBUTES = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "ApproximateFirstReceiveTimestamp",
    "MessageGroupId",
)

# Numbers of so many digits are no times, and floats end somewhere; as in mqtransport.wire.
_ENDLESS = 1e16


def whole_seconds(seconds: float) -> int:
    """Return seconds as SQS takes them, rounded up: never earlier than asked."""
    return math.ceil(seconds)


def send_entry(position: int, message: Outgoing, *, fifo: bool) -> Entry:
    """Return the entry of one message for SendMessageBatch.

    On an ordered queue the message id stands in for a missing deduplication id: it is the same
    for every retry, so that a lost reply does not make two messages of one.
    """
    entry: Entry = {"Id": str(position), "MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = {
            name: {"DataType": kind, "StringValue": value}
            if isinstance(value, str)
            else {"DataType": kind, "BinaryValue": base64.b64encode(value).decode()}
            for name, (kind, value) in message.attributes.items()
        }
    # Without the field the queue's own DelaySeconds applies, 0 overrides it (AWS, SendMessage).
    if message.delay_s is not None:
        entry["DelaySeconds"] = whole_seconds(message.delay_s)
    if message.group is not None:
        entry["MessageGroupId"] = message.group
    if fifo:
        entry["MessageDeduplicationId"] = message.dedup_id or message.id
    return entry


def receipt_entries(receipts: Sequence[str], **fields: int) -> list[Entry]:
    """Return the entries of a settle call, each with ``fields`` added."""
    return [
        {"Id": str(position), "ReceiptHandle": receipt, **fields}
        for position, receipt in enumerate(receipts)
    ]


def outcomes(
    call: Call, reply: Reply, positions: Sequence[int]
) -> list[Mapping[str, Any] | BrokerError]:
    """Return, per entry sent, its entry in ``Successful``, or an error.

    An entry that stands in neither list, or in both, may have been carried out.
    """
    good, bad = _by_id(reply, "Successful"), _by_id(reply, "Failed")
    return [_outcome(call, good.get(key), bad.get(key)) for key in map(str, positions)]


def _outcome(
    call: Call, good: Mapping[str, Any] | None, bad: Mapping[str, Any] | None
) -> Mapping[str, Any] | BrokerError:
    if good is not None and bad is None:
        return good
    if bad is not None and good is None:
        return from_entry(call, bad)
    where = "neither" if good is None else "both"
    return call.lost(f"the answer names this entry in {where} of its lists")


def _by_id(reply: Reply, key: str) -> dict[object, Mapping[str, Any]]:
    # Here and below dict and list, not their abstract kin, whose checks cost a microsecond each.
    listed = reply.get(key)
    if not isinstance(listed, list):
        return {}
    return {str(item.get("Id")): item for item in listed if isinstance(item, dict)}


def confirmed(call: Call, entry: Mapping[str, Any] | BrokerError, body: str) -> str | BrokerError:
    """Return the broker's id of a message if the entry proves that SQS has this very body."""
    if isinstance(entry, BrokerError):
        return entry
    message_id = entry.get("MessageId")
    if not isinstance(message_id, str) or not message_id:
        return call.lost("the answer has no MessageId for this entry")
    if entry.get("MD5OfMessageBody") != body_md5(body):
        return call.lost("the MD5 that SQS reports is not that of the body sent")
    return message_id


def settled(call: Call, reply: Reply, count: int) -> list[BrokerError | None]:
    """Return, per receipt of a settle call, None if the answer proves success, else an error."""
    found = outcomes(call, reply, range(count))
    return [entry if isinstance(entry, BrokerError) else None for entry in found]


def deliveries(reply: Reply) -> tuple[list[RawDelivery], list[str]]:
    """Return the messages of a ReceiveMessage answer, and what was wrong with unusable ones.

    Raises:
        BadReplyError: the answer is none of SQS's, or not one of its messages is usable.
    """
    listed = reply.get("Messages")
    if listed is None:
        if not is_empty_answer(reply):
            raise BadReplyError("the answer is no ReceiveMessage answer")
        return [], []
    if not isinstance(listed, list):
        raise BadReplyError("the answer has a malformed list of messages")
    good: list[RawDelivery] = []
    faults: list[str] = []
    for message in listed:
        try:
            good.append(_delivery(message))
        except BadReplyError as fault:
            faults.append(str(fault))
    if faults and not good:
        raise BadReplyError(faults[0])
    return good, faults


def is_empty_answer(reply: Reply) -> bool:
    """Return whether a ReceiveMessage answer without messages is SQS's own "nothing there".

    botocore shows ``{}`` for that and for a page of HTML alike, so the raw body decides. An
    answer with SQS's request id may have fields that we do not know yet.
    """
    raw = reply.get(RAW)
    if not isinstance(raw, Mapping):
        return False
    from_sqs = "x-amzn-requestid" in raw["headers"]
    if not raw["body"]:
        return from_sqs
    try:
        parsed = json.loads(raw["body"])
    except (ValueError, RecursionError):
        return False
    return isinstance(parsed, dict) and (from_sqs or parsed.keys() <= {"Messages"})


def _delivery(message: object) -> RawDelivery:
    if not isinstance(message, dict):
        raise BadReplyError("a message in the answer is malformed")
    for key in ("MessageId", "ReceiptHandle", "Body"):
        if not isinstance(value := message.get(key), str) or not value:
            raise BadReplyError(f"a message in the answer has no {key}")
    body, md5 = message["Body"], message.get("MD5OfBody")
    if md5 is not None and md5 != body_md5(body):
        raise BadReplyError("a message in the answer does not match its MD5")
    system = message.get("Attributes")
    system = system if isinstance(system, dict) else {}
    attempt = _integer(system.get("ApproximateReceiveCount"))
    if attempt is None or attempt < 1:
        # Guessing 1 would retry a poisonous message for ever.
        raise BadReplyError("a message in the answer has no ApproximateReceiveCount")
    group = system.get("MessageGroupId")
    if group is not None and not isinstance(group, str):
        raise BadReplyError("a message in the answer has a malformed MessageGroupId")
    return RawDelivery(
        broker_id=message["MessageId"],
        receipt=message["ReceiptHandle"],
        body=body,
        attributes=_attributes(message.get("MessageAttributes")),
        attempt=attempt,
        sent_at=_milliseconds(system.get("SentTimestamp")),
        first_received_at=_milliseconds(system.get("ApproximateFirstReceiveTimestamp")),
        group=group,
    )


def _attributes(listed: object) -> dict[str, Attribute]:
    if listed is None:
        return {}
    if not isinstance(listed, dict):
        raise BadReplyError("a message in the answer has malformed attributes")
    found: dict[str, Attribute] = {}
    for name, item in listed.items():
        kind = item.get("DataType") if isinstance(item, dict) else None
        if not isinstance(kind, str):
            raise BadReplyError("a message in the answer has a malformed attribute")
        binary = kind.startswith("Binary")
        value = item.get("BinaryValue" if binary else "StringValue")
        if not isinstance(value, str):
            raise BadReplyError("a message in the answer has a malformed attribute")
        found[name] = Attribute(kind, _decoded(value) if binary else value)
    return found


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise BadReplyError("a message in the answer has a malformed binary value") from None


def queue_info(told: Mapping[str, Any]) -> QueueInfo:
    """Return what the attributes of a queue say; None for what they do not."""
    count, dead_letter_queue = _redrive(told.get("RedrivePolicy"))
    return QueueInfo(
        max_message_bytes=_integer(told.get("MaximumMessageSize")),
        depth=_integer(told.get("ApproximateNumberOfMessages")),
        in_flight=_integer(told.get("ApproximateNumberOfMessagesNotVisible")),
        delayed=_integer(told.get("ApproximateNumberOfMessagesDelayed")),
        lease_s=_seconds(told.get("VisibilityTimeout")),
        max_receive_count=count,
        dead_letter_queue=dead_letter_queue,
        retention_s=_seconds(told.get("MessageRetentionPeriod")),
        # Only ordered queues have the attribute (AWS, GetQueueAttributes).
        fifo=told.get("FifoQueue") == "true" if told else None,
        delay_s=_seconds(told.get("DelaySeconds")),
    )


def queue_attributes(options: QueueOptions | None, *, fifo: bool) -> dict[str, str]:
    """Return the attributes of a queue that is created now; without options AWS's defaults."""
    attributes = {"FifoQueue": "true"} if fifo else {}
    if options is not None:
        attributes["VisibilityTimeout"] = str(max(1, whole_seconds(options.lease_s)))
        if options.retention_s is not None:
            attributes["MessageRetentionPeriod"] = str(whole_seconds(options.retention_s))
    return attributes


def attributes_of(reply: Reply) -> Mapping[str, Any]:
    """Return the attributes in a GetQueueAttributes answer.

    Raises:
        BadReplyError: there are none.
    """
    told = reply.get("Attributes")
    if not isinstance(told, Mapping):
        raise BadReplyError("the answer is no GetQueueAttributes answer")
    return told


def queue_url(reply: Reply) -> str:
    """Return the URL in a GetQueueUrl or CreateQueue answer.

    Raises:
        BadReplyError: there is none.
    """
    url = reply.get("QueueUrl")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise BadReplyError("the answer has no queue URL")
    return url


def redrive_policy(dead_letter_arn: str, max_receive_count: int) -> str:
    """Return the value of the queue attribute RedrivePolicy."""
    return json.dumps(
        {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": str(max_receive_count)}
    )


def _redrive(policy: object) -> tuple[int | None, str | None]:
    try:
        parsed = json.loads(policy) if isinstance(policy, str) else None
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        return None, None
    arn = parsed.get("deadLetterTargetArn")
    name = arn.rsplit(":", 1)[-1] if isinstance(arn, str) else None
    return _integer(parsed.get("maxReceiveCount")), name


def body_md5(body: str) -> str:
    """Return the MD5 by which SQS proves that it has this body; a checksum, no security."""
    return hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _integer(value: object) -> int | None:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _seconds(value: object) -> float | None:
    number = _integer(value)
    return float(number) if number is not None and abs(number) < _ENDLESS else None


def _milliseconds(value: object) -> float | None:
    stamp = _integer(value)
    return stamp / 1000 if stamp is not None and abs(stamp) < _ENDLESS else None
