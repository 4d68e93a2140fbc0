"""An account of the double, driven without HTTP and with a clock moved by hand."""

import json
import random

import pytest

from mqtransport.testing.sqs_double import SQSError, Store
from mqtransport.testing.sqs_double.actions import Actions, read_receive, received
from mqtransport.testing.sqs_double.faults import Faults

ARN = "arn:aws:sqs:us-east-1:000000000000:"


class ManualClock:
    def __init__(self):
        self.now = 1_000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1_700_000_000.5 + self.now


class Account:
    """Drives the actions as the HTTP layer does, with short polls only."""

    def __init__(self):
        self.clock = ManualClock()
        self.store = Store(self.clock, random.Random(1))
        self.faults = Faults()
        self.actions = Actions(self.store, self.faults, "http://sqs")
        self.url = self("CreateQueue", QueueName="q")["QueueUrl"]

    def __call__(self, action, **params):
        if action == "ReceiveMessage":
            queue = self.actions.queue_of(params)
            request = read_receive(queue, params)
            taken = self.store.receive(
                queue, request.limit, request.lease_s, request.attempt_id, short=True
            )
            return received(taken, request)
        return self.actions.run(action, params)

    def create(self, name, **attributes):
        text = {key: str(value) for key, value in attributes.items()}
        return self("CreateQueue", QueueName=name, Attributes=text)["QueueUrl"]

    def send(self, body="x", url=None, **params):
        return self("SendMessage", QueueUrl=url or self.url, MessageBody=body, **params)

    def receive(self, url=None, **params):
        return self("ReceiveMessage", QueueUrl=url or self.url, **params).get("Messages", [])

    def one(self, url=None, **params):
        (message,) = self.receive(url, **params)
        return message

    def delete(self, message, url=None):
        handle = message["ReceiptHandle"]
        return self("DeleteMessage", QueueUrl=url or self.url, ReceiptHandle=handle)

    def change(self, message, seconds):
        handle = message["ReceiptHandle"]
        return self(
            "ChangeMessageVisibility",
            QueueUrl=self.url,
            ReceiptHandle=handle,
            VisibilityTimeout=seconds,
        )

    def counts(self, name="q"):
        return self.store.get(name).counts()

    def code(self, action, **params):
        with pytest.raises(SQSError) as caught:
            self(action, **params)
        return caught.value.kind.code.removeprefix("AWS.SimpleQueueService.")

    def policy(self, name, count):
        return json.dumps({"deadLetterTargetArn": ARN + name, "maxReceiveCount": count})
