"""Message queues for FastAPI: typed producers by injection, consumers, honest health."""

try:
    import fastapi as _fastapi  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'fastapi_mq needs FastAPI; install it with: pip install "mqtransport[fastapi]"'
    ) from error

from fastapi_mq.dependencies import MQ, get_mq
from fastapi_mq.plugin import FastMQ
from mqtransport import (
    Backoff,
    ChannelError,
    ConsumeMessageError,
    Consumer,
    Delivery,
    MessageRefusedError,
    MQApp,
    MQSettings,
    Producer,
    Retry,
    RetryMessage,
    SendError,
    Sent,
    UsageError,
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
    "MessageRefusedError",
    "Producer",
    "Retry",
    "RetryMessage",
    "SendError",
    "Sent",
    "UsageError",
    "get_mq",
]
