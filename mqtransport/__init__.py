"""One small interface to message queues: Amazon SQS, and an embedded broker like it."""

from mqtransport.app import MQApp
from mqtransport.channel import ConsumingChannel, ProducingChannel
from mqtransport.errors import (
    ChannelError,
    ConfigurationError,
    ConsumeMessageError,
    ImportMessageError,
    MessageRefusedError,
    MQTransportError,
    RetryMessage,
    SendError,
    UsageError,
)
from mqtransport.findings import Finding
from mqtransport.message import DeadLetter, Delivery, Sent
from mqtransport.participants import Consumer, Producer
from mqtransport.policy import Backoff, Retry
from mqtransport.report import StopReport
from mqtransport.settings import MQSettings
from mqtransport.sqs import SQSApp

__all__ = [
    "Backoff",
    "ChannelError",
    "ConfigurationError",
    "ConsumeMessageError",
    "Consumer",
    "ConsumingChannel",
    "DeadLetter",
    "Delivery",
    "Finding",
    "ImportMessageError",
    "MQApp",
    "MQSettings",
    "MQTransportError",
    "MessageRefusedError",
    "Producer",
    "ProducingChannel",
    "Retry",
    "RetryMessage",
    "SQSApp",
    "SendError",
    "Sent",
    "StopReport",
    "UsageError",
]
