"""What each action of the protocol does, as functions from parameters to a result. No I/O.

``ReceiveMessage`` is the exception: it is read here and carried out by the layer that can wait.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import batches
from .attributes import READABLE
from .contents import AttributeValue, read_contents
from .digests import md5_of_attributes
from .errors import SQSError, missing_parameter, wrong_queue_type
from .faults import Faults
from .groups import read_attempt_id
from .messages import Message, to_json
from .params import (
    Params,
    mapping,
    optional_integer,
    optional_text,
    required_text,
    text_list,
)
from .queues import MAX_LEASE_S, Queue
from .store import ACCOUNT, Store

MAX_DELAY_S = 900
MAX_WAIT_S = 20
MAX_RECEIVE = 10
MAX_LISTED = 1_000

_SYSTEM_NAMES = frozenset(
    {
        "All",
        "SenderId",
        "SentTimestamp",
        "ApproximateReceiveCount",
        "ApproximateFirstReceiveTimestamp",
        "SequenceNumber",
        "MessageDeduplicationId",
        "MessageGroupId",
        "AWSTraceHeader",
        "DeadLetterQueueSourceArn",
    }
)
_URL = re.compile(rf"(?:https?://[^/]+)?/{ACCOUNT}/([^/?#]+)\Z")

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReceiveRequest:
    """A ``ReceiveMessage`` request, checked."""

    limit: int
    lease_s: int | None
    wait_s: int
    attempt_id: str | None
    system_names: frozenset[str]
    names: frozenset[str]


class Actions:
    """The actions on one store.

    Args:
        store: the queues.
        faults: what befalls entries of batches.
        url: the address of the endpoint, for the URLs of queues.
    """

    def __init__(self, store: Store, faults: Faults, url: str) -> None:
        self._store = store
        self._faults = faults
        self._url = url
        self._plain: dict[str, Callable[[Params], Result]] = {
            "CreateQueue": self._create_queue,
            "GetQueueUrl": self._get_queue_url,
            "ListQueues": self._list_queues,
        }
        self._on_queue: dict[str, Callable[[Queue, Params], Result]] = {
            "DeleteQueue": self._delete_queue,
            "GetQueueAttributes": self._get_queue_attributes,
            "SetQueueAttributes": self._set_queue_attributes,
            "PurgeQueue": self._purge_queue,
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": self._change_batch,
        }

    def url_of(self, name: str) -> str:
        """Return the URL of a queue."""
        return f"{self._url}/{ACCOUNT}/{name}"

    def queue_of(self, params: Params) -> Queue:
        """Return the queue that a request names by its URL.

        Raises:
            SQSError: the URL is missing or no queue's URL, or the queue does not exist.
        """
        url = required_text(params, "QueueUrl")
        found = _URL.match(url)
        if found is None:
            raise SQSError("InvalidAddress", f"The address {url} is not valid for this endpoint.")
        return self._store.get(found.group(1))

    def run(self, action: str, params: Params) -> Result:
        """Carry out an action and return its result.

        Raises:
            SQSError: the request breaks a rule, or there is no such action.
        """
        plain = self._plain.get(action)
        if plain is not None:
            return plain(params)
        on_queue = self._on_queue.get(action)
        if on_queue is None:
            raise SQSError("InvalidAction", f"The double does not know the action {action!r}.")
        return on_queue(self.queue_of(params), params)

    def _create_queue(self, params: Params) -> Result:
        name = required_text(params, "QueueName")
        queue = self._store.create(name, mapping(params, "Attributes"))
        return {"QueueUrl": self.url_of(queue.name)}

    def _get_queue_url(self, params: Params) -> Result:
        name = required_text(params, "QueueName")
        owner = optional_text(params, "QueueOwnerAWSAccountId")
        if owner not in (None, ACCOUNT):
            raise SQSError("QueueDoesNotExist", "The specified queue does not exist.")
        return {"QueueUrl": self.url_of(self._store.get(name).name)}

    def _list_queues(self, params: Params) -> Result:
        size = optional_integer(params, "MaxResults", 1, MAX_LISTED)
        after = optional_text(params, "NextToken") or ""
        names = self._store.names(optional_text(params, "QueueNamePrefix") or "")
        rest = [name for name in names if name > after]
        page = rest[: size or MAX_LISTED]
        result: Result = {"QueueUrls": [self.url_of(name) for name in page]} if page else {}
        if size is not None and len(rest) > size:
            result["NextToken"] = page[-1]
        return result

    def _delete_queue(self, queue: Queue, _: Params) -> Result:
        self._store.delete(queue)
        return {}

    def _get_queue_attributes(self, queue: Queue, params: Params) -> Result:
        wanted = text_list(params, "AttributeNames")
        _check_names(wanted, READABLE)
        if not wanted:
            return {}
        found = self._store.attributes(queue)
        if "All" not in wanted:
            found = {name: value for name, value in found.items() if name in wanted}
        return {"Attributes": found}

    def _set_queue_attributes(self, queue: Queue, params: Params) -> Result:
        if params.get("Attributes") is None:
            raise missing_parameter("Attributes")
        self._store.set_attributes(queue, mapping(params, "Attributes"))
        return {}

    def _purge_queue(self, queue: Queue, _: Params) -> Result:
        self._store.purge(queue)
        return {}

    def _send(self, queue: Queue, params: Params) -> Result:
        limit = queue.settings.number("MaximumMessageSize")
        if queue.settings.ordered and params.get("DelaySeconds") is not None:
            raise wrong_queue_type("DelaySeconds", params["DelaySeconds"])
        delay = optional_integer(params, "DelaySeconds", 0, MAX_DELAY_S)
        contents = read_contents(
            params,
            limit_bytes=limit,
            ordered=queue.settings.ordered,
            by_content=queue.settings.deduplicates_by_content,
        )
        return _sent(self._store.send(queue, contents, delay))

    def _send_batch(self, queue: Queue, params: Params) -> Result:
        entries = batches.read_entries(params)
        batches.check_total_size(entries)
        queue.check_key()
        return batches.run(
            "SendMessageBatch", entries, lambda entry: self._send(queue, entry), self._faults
        )

    def _delete(self, queue: Queue, params: Params) -> Result:
        queue.delete(required_text(params, "ReceiptHandle"))
        return {}

    def _delete_batch(self, queue: Queue, params: Params) -> Result:
        entries = batches.read_entries(params)
        return batches.run(
            "DeleteMessageBatch", entries, lambda entry: self._delete(queue, entry), self._faults
        )

    def _change(self, queue: Queue, params: Params) -> Result:
        handle = required_text(params, "ReceiptHandle")
        lease = optional_integer(params, "VisibilityTimeout", 0, MAX_LEASE_S)
        if lease is None:
            raise missing_parameter("VisibilityTimeout")
        queue.change_lease(handle, lease)
        return {}

    def _change_batch(self, queue: Queue, params: Params) -> Result:
        entries = batches.read_entries(params)
        action = "ChangeMessageVisibilityBatch"
        return batches.run(action, entries, lambda entry: self._change(queue, entry), self._faults)


def read_receive(queue: Queue, params: Params) -> ReceiveRequest:
    """Return a checked ``ReceiveMessage`` request; the queue's own wait is its default.

    Raises:
        SQSError: a parameter is out of range or of the wrong type.
    """
    attempt_id = read_attempt_id(params, ordered=queue.settings.ordered)
    wait = optional_integer(params, "WaitTimeSeconds", 0, MAX_WAIT_S)
    # AttributeNames is the older name of the same list, and shares its type with queue attributes.
    older = text_list(params, "AttributeNames")
    newer = text_list(params, "MessageSystemAttributeNames")
    _check_names(older, _SYSTEM_NAMES | READABLE)
    _check_names(newer, _SYSTEM_NAMES)
    return ReceiveRequest(
        limit=optional_integer(params, "MaxNumberOfMessages", 1, MAX_RECEIVE) or 1,
        lease_s=optional_integer(params, "VisibilityTimeout", 0, MAX_LEASE_S),
        wait_s=queue.settings.number("ReceiveMessageWaitTimeSeconds") if wait is None else wait,
        attempt_id=attempt_id,
        system_names=frozenset((*older, *newer)),
        names=frozenset(text_list(params, "MessageAttributeNames")),
    )


def received(messages: list[tuple[Message, str]], request: ReceiveRequest) -> Result:
    """Return the result of a receive; without messages there is no list (ReceiveMessage)."""
    if not messages:
        return {}
    names, system_names = request.names, request.system_names
    return {
        "Messages": [
            to_json(message, receipt, system_names, names) for message, receipt in messages
        ]
    }


def _check_names(names: list[str], known: frozenset[str]) -> None:
    for name in names:
        if name not in known:
            raise SQSError("InvalidAttributeName", f"Unknown Attribute {name}.")


def _sent(message: Message) -> Result:
    result = {"MessageId": message.message_id, "MD5OfMessageBody": message.body_md5}
    contents = message.contents
    if contents.attributes:
        result["MD5OfMessageAttributes"] = md5_of_attributes(contents.attributes)
    if contents.trace_header is not None:
        header = AttributeValue("String", contents.trace_header)
        result["MD5OfMessageSystemAttributes"] = md5_of_attributes({"AWSTraceHeader": header})
    if message.sequence:
        result["SequenceNumber"] = str(message.sequence)
    return result
