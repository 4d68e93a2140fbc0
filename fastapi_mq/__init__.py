"""Message queues for FastAPI: typed producers by injection, consumers, honest health."""

from fastapi_mq.dependencies import MQ, get_mq
from fastapi_mq.plugin import FastMQ
from mqtransport import (
    Backoff,
    ChannelError,
    ConsumeMessageError,
    Consumer,
    Delivery,
    MQApp,
    MQSettings,
    Producer,
    Retry,
    RetryMessage,
    SendError,
    Sent,
)

__all__ = [
    "MQ",
    "Backoff",
    "ChannelError",
    "ConsumeMessageError",
    "Consumer",
    "Delivery",
    "FastMQ",
    "MQApp",
    "MQSettings",
    "Producer",
    "Retry",
    "RetryMessage",
    "SendError",
    "Sent",
    "get_mq",
]
