"""What the SQS stub does on a request; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

from benchmarks.stub_queue import Message, Queue

Answer = Callable[[Any], None]
Parameters = dict[str, Any]

LEASE_S = 30
ACCOUNT = "000000000000"


class RefusedError(Exception):
    """A request that SQS would refuse."""

    def __init__(self, kind: str, code: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.code, self.text = kind, code, text


class Poll:
    """A request whose answer waits for something."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.cancel = cancel


class _Waiting:
    """An open long poll."""

    def __init__(self, parameters: Parameters, answer: Answer) -> None:
        self.parameters = parameters
        self.answer = answer
        self.timer: asyncio.TimerHandle | None = None


class Server:
    """All queues, and the verbs on them."""

    def __init__(self) -> None:
        self.url = ""
        self._queues: dict[str, Queue] = {}
        self._polls: dict[str, deque[_Waiting]] = defaultdict(deque)
        self._ends: dict[str, list[Answer]] = defaultdict(list)

    def act(self, action: str, parameters: Parameters, answer: Answer) -> Any:
        """Do what a request asks for; return its answer, or a Poll that answers later."""
        if action in ("CreateQueue", "GetQueueUrl"):
            return self._address(action, parameters["QueueName"])
        queue = self._queue(parameters["QueueUrl"].rpartition("/")[2])
        queue.requests[action] += 1
        if action == "ReceiveMessage":
            return self._receive(queue, parameters, answer)
        verb = getattr(self, f"_{action}", None)
        if verb is None:
            raise RefusedError("UnsupportedOperation", "UnsupportedOperation", action)
        return verb(queue, parameters)

    def control(self, path: str, query: dict[str, str], answer: Answer) -> Any:
        """Answer a request of the benchmarks themselves."""
        queue = self._queue(query["queue"])
        match path:
            case "/reset":
                queue.requests.clear()
            case "/pause":
                queue.paused = True
            case "/resume":
                queue.paused = False
                self._serve(queue)
            case "/wait" if not queue.empty:
                self._ends[queue.name].append(answer)
                return Poll(lambda: None)
        return self._stats(queue)

    def tick(self) -> None:
        """Hand out what has become ready by itself."""
        for queue in self._queues.values():
            queue.expire(time.time())
            self._serve(queue)

    # -- verbs; named as SQS names them --------------------------------------------------------

    def _SendMessage(self, queue: Queue, entry: Parameters) -> Any:
        told = self._put(queue, entry)
        self._serve(queue)
        return told

    def _SendMessageBatch(self, queue: Queue, parameters: Parameters) -> Any:
        told = [{"Id": one["Id"], **self._put(queue, one)} for one in parameters["Entries"]]
        self._serve(queue)
        return {"Successful": told, "Failed": []}

    def _DeleteMessage(self, queue: Queue, parameters: Parameters) -> Any:
        queue.delete(parameters["ReceiptHandle"])
        self._tell_if_empty(queue)
        return {}

    def _DeleteMessageBatch(self, queue: Queue, parameters: Parameters) -> Any:
        for entry in parameters["Entries"]:
            queue.delete(entry["ReceiptHandle"])
        self._tell_if_empty(queue)
        return {"Successful": [{"Id": one["Id"]} for one in parameters["Entries"]], "Failed": []}

    def _ChangeMessageVisibility(self, queue: Queue, entry: Parameters) -> Any:
        if not queue.change(entry["ReceiptHandle"], entry["VisibilityTimeout"], time.time()):
            name = "MessageNotInflight"
            raise RefusedError(name, f"AWS.SimpleQueueService.{name}", "it is not in flight")
        self._serve(queue)
        return {}

    def _ChangeMessageVisibilityBatch(self, queue: Queue, parameters: Parameters) -> Any:
        good, bad = [], []
        for one in parameters["Entries"]:
            if queue.change(one["ReceiptHandle"], one["VisibilityTimeout"], time.time()):
                good.append({"Id": one["Id"]})
            else:
                code = "MessageNotInflight"
                bad.append({"Id": one["Id"], "Code": code, "SenderFault": True})
        self._serve(queue)
        return {"Successful": good, "Failed": bad}

    def _PurgeQueue(self, queue: Queue, parameters: Parameters) -> Any:
        queue.purge()
        self._tell_if_empty(queue)
        return {}

    def _GetQueueAttributes(self, queue: Queue, parameters: Parameters) -> Any:
        attributes = {
            "QueueArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue.name}",
            "VisibilityTimeout": str(LEASE_S),
            "MaximumMessageSize": str(1024 * 1024),
            "MessageRetentionPeriod": "345600",
            "DelaySeconds": "0",
            "ReceiveMessageWaitTimeSeconds": "0",
            "ApproximateNumberOfMessages": str(queue.depth),
            "ApproximateNumberOfMessagesNotVisible": str(queue.in_flight),
            "ApproximateNumberOfMessagesDelayed": "0",
        }
        wanted = parameters.get("AttributeNames") or []
        everything = "All" in wanted
        return {"Attributes": {k: v for k, v in attributes.items() if everything or k in wanted}}

    # -- receiving -----------------------------------------------------------------------------

    def _receive(self, queue: Queue, parameters: Parameters, answer: Answer) -> Any:
        if told := self._take(queue, parameters):
            return told
        wait_s = parameters.get("WaitTimeSeconds", 0)
        if not wait_s:
            return {}
        waiting = _Waiting(parameters, answer)
        polls = self._polls[queue.name]

        def end() -> None:
            if waiting in polls:
                polls.remove(waiting)
                answer({})

        def cancel() -> None:
            if waiting in polls:
                polls.remove(waiting)

        waiting.timer = asyncio.get_running_loop().call_later(wait_s, end)
        polls.append(waiting)
        return Poll(cancel)

    def _serve(self, queue: Queue) -> None:
        polls = self._polls[queue.name]
        while polls and (told := self._take(queue, polls[0].parameters)):
            waiting = polls.popleft()
            if waiting.timer is not None:
                waiting.timer.cancel()
            waiting.answer(told)

    def _take(self, queue: Queue, parameters: Parameters) -> Any:
        lease_s = parameters.get("VisibilityTimeout", LEASE_S)
        taken = queue.take(parameters.get("MaxNumberOfMessages", 1), lease_s, time.time())
        if not taken:
            return None
        with_attributes = bool(parameters.get("MessageAttributeNames"))
        system = parameters.get("MessageSystemAttributeNames") or parameters.get("AttributeNames")
        return {"Messages": [_delivery(one, with_attributes, system or ()) for one in taken]}

    # -- the rest ------------------------------------------------------------------------------

    def _put(self, queue: Queue, entry: Parameters) -> Parameters:
        message = Message(
            entry["MessageBody"],
            entry.get("MessageAttributes"),
            entry.get("MessageGroupId"),
            time.time(),
        )
        queue.put(message, entry.get("DelaySeconds") or 0)
        told = {"MessageId": message.id, "MD5OfMessageBody": message.body_md5}
        if message.attributes_md5:
            told["MD5OfMessageAttributes"] = message.attributes_md5
        return told

    def _address(self, action: str, name: str) -> Parameters:
        if action == "CreateQueue":
            self._queues.setdefault(name, Queue(name))
        queue = self._queue(name)
        queue.requests[action] += 1
        return {"QueueUrl": f"{self.url}/{ACCOUNT}/{queue.name}"}

    def _queue(self, name: str) -> Queue:
        if (queue := self._queues.get(name)) is None:
            code = "AWS.SimpleQueueService.NonExistentQueue"
            raise RefusedError("QueueDoesNotExist", code, f"there is no queue {name}")
        return queue

    def _tell_if_empty(self, queue: Queue) -> None:
        if (ends := self._ends[queue.name]) and queue.empty:
            for answer in ends:
                answer(self._stats(queue))
            ends.clear()

    def _stats(self, queue: Queue) -> Parameters:
        waits_s = [one.parameters["WaitTimeSeconds"] for one in self._polls[queue.name]]
        counts = {"depth": queue.depth, "in_flight": queue.in_flight}
        return {"requests": dict(queue.requests), "waits_s": waits_s, **counts}


def _delivery(message: Message, with_attributes: bool, system: list[str] | tuple[()]) -> Parameters:
    told: Parameters = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "Body": message.body,
        "MD5OfBody": message.body_md5,
    }
    if system:
        values = {
            "SentTimestamp": str(int(message.sent * 1000)),
            "ApproximateReceiveCount": str(message.received),
            "ApproximateFirstReceiveTimestamp": str(int(message.first_received * 1000)),
            "SenderId": "AIDA0000000000000000",
        }
        if message.group is not None:
            values["MessageGroupId"] = message.group
        everything = "All" in system
        told["Attributes"] = {k: v for k, v in values.items() if everything or k in system}
    if with_attributes and message.attributes:
        told["MessageAttributes"] = message.attributes
        told["MD5OfMessageAttributes"] = message.attributes_md5
    return told
