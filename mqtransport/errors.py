"""Every error this library raises, below one root.

    MQTransportError
    ├── UsageError                  the code uses the library wrongly; mend the code
    │   ├── ConfigurationError      a setting, URL or installed package is wrong or missing
    │   ├── NotStartedError         the app or channel is not running
    │   └── ClosedError             the app or broker was shut down for good
    ├── ChannelError                the broker or one of its queues cannot be used
    │   ├── BrokerError             what a driver reports; ``retryable`` says whether to try again
    │   │   ├── BrokerUnavailableError   refused, reset, timed out, 5xx, garbage reply
    │   │   ├── ThrottledError           slow down
    │   │   ├── CredentialsError         wrong, missing or expired credentials
    │   │   ├── AccessDeniedError        valid credentials that may not do this
    │   │   ├── QueueNotFoundError       no such queue
    │   │   ├── StaleReceiptError        the delivery is no longer ours
    │   │   └── RefusedError             the broker will never take this message or call
    │   └── SendError               a send failed; carries ``message_id`` and ``outcome``
    │       └── MessageRefusedError permanent: too large, illegal, invalid; never retried
    ├── ImportMessageError          unsent messages that cannot be taken back in
    ├── UndeliverableError          a received message that no handler can be given
    │   ├── MalformedMessageError   it is not in the wire format
    │   ├── UnknownMessageError     no consumer is registered for its name
    │   ├── InvalidMessageError     its body does not fit the consumer's model
    │   └── DeliveryLimitError      it was delivered too often; it may kill the process
    ├── HandlerTimeoutError         a handler ran longer than ``max_processing_s``
    ├── ConsumeMessageError         raised by a handler: dead-letter this message now
    └── RetryMessage                raised by a handler: deliver this message again later

Messages say what was attempted, on which queue, what was found and what to do. Bodies,
headers and credentials never stand in a message.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Outcome = Literal["not_sent", "unknown"]
"""What is known of a failed send: surely not in the queue, or perhaps (a reply was lost)."""


class MQTransportError(Exception):
    """The root of all errors of this library; all of them can be pickled and copied."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception would call the class with its message alone; some take more.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(
    kind: type[MQTransportError], args: tuple[Any, ...], state: dict[str, Any]
) -> MQTransportError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(MQTransportError):
    """The library was called in a way that cannot work; the message says what to change."""


class ConfigurationError(UsageError):
    """A setting, a URL or an installed package is wrong, contradictory or missing."""


class NotStartedError(UsageError):
    """The app or channel has to be started before this call."""


class ClosedError(UsageError):
    """The app or broker was shut down; make a new one."""


class ChannelError(MQTransportError):
    """The broker, or one queue of it, cannot be used.

    Attributes:
        queue: the queue concerned, as the broker knows it; None where the call was not about one.
    """

    def __init__(self, message: str, *, queue: str | None = None) -> None:
        super().__init__(message)
        self.queue = queue


class BrokerError(ChannelError):
    """A broker call, or one item of it, failed; raised and returned by drivers.

    Attributes:
        retryable: whether the same call may succeed later without anybody changing anything.
        fatal: whether the queue stays unusable until an operator acts (missing, denied).
        label: a short word for health answers and metrics; never foreign text.
        maybe_done: whether the broker may have carried the call out although it failed here.
    """

    retryable: ClassVar[bool] = False
    fatal: ClassVar[bool] = False
    label: ClassVar[str] = "error"

    def __init__(self, message: str, *, queue: str | None = None, maybe_done: bool = False) -> None:
        super().__init__(message, queue=queue)
        self.maybe_done = maybe_done


class BrokerUnavailableError(BrokerError):
    """No usable answer: refused, reset, timed out, a server error or a garbage reply."""

    retryable = True
    label = "unreachable"


class ThrottledError(BrokerError):
    """The broker asks to slow down."""

    retryable = True
    label = "throttled"


class CredentialsError(BrokerError):
    """The credentials are missing, wrong or expired.

    Retryable, because rotation mends it without a restart.
    """

    retryable = True
    label = "credentials"


class AccessDeniedError(BrokerError):
    """The credentials are valid but do not permit this call."""

    fatal = True
    label = "denied"


class QueueNotFoundError(BrokerError):
    """The queue does not exist."""

    fatal = True
    label = "not_found"


class StaleReceiptError(BrokerError):
    """The receipt's delivery is over: its lease ended, or it was settled already."""

    label = "stale_receipt"


class RefusedError(BrokerError):
    """The broker understood and will never accept it: too large, illegal, malformed call."""

    label = "refused"


class SendError(ChannelError):
    """A message was not confirmed by the broker.

    Attributes:
        message_id: the library's id of the message. Send again with the same
            ``message_id`` and a duplicate stays recognisable.
        outcome: ``"not_sent"``: surely not in the queue; ``"unknown"``: a reply was lost, so
            the message may be there.
    """

    def __init__(
        self, message: str, *, queue: str | None, message_id: str, outcome: Outcome
    ) -> None:
        super().__init__(message, queue=queue)
        self.message_id = message_id
        self.outcome = outcome


class MessageRefusedError(SendError):
    """The message can never be sent as it is; its outcome is always ``"not_sent"``."""


class ImportMessageError(MQTransportError):
    """Exported messages could not be imported; none of them was."""


class UndeliverableError(MQTransportError):
    """A received message cannot be given to a handler; its class is the dead letter reason."""


class MalformedMessageError(UndeliverableError):
    """The message does not follow the wire format."""


class UnknownMessageError(UndeliverableError):
    """No consumer is registered for the message's name."""


class InvalidMessageError(UndeliverableError):
    """The body is JSON but does not fit the consumer's model."""


class DeliveryLimitError(UndeliverableError):
    """The message was delivered more often than ``max_deliveries``, so it is not run again."""


class HandlerTimeoutError(MQTransportError):
    """A handler ran longer than ``max_processing_s`` and was cancelled; counts as a failure."""


class ConsumeMessageError(MQTransportError):
    """Raise it in a handler to reject the message for good.

    The message goes to the dead letter queue at once, with the text as its reason; without
    a dead letter queue it is released with backoff and logged.
    """


class RetryMessage(MQTransportError):
    """Raise it in a handler to have the message delivered again after a delay of your own.

    Args:
        delay_s: seconds until the next delivery, 0 to 39,600 (11 hours); None leaves it to the
            channel's retry policy.
        reason: a short text for the log.

    Raises:
        UsageError: ``delay_s`` is out of range; in a handler that is a failure like any other.
    """

    # SQS hides a message for 12 hours at most, counted from its receive; an hour is left for
    # the handler (AWS, ChangeMessageVisibility).
    MAX_DELAY_S: ClassVar[float] = 39_600.0

    def __init__(self, delay_s: float | None = None, reason: str = "asked by the handler") -> None:
        super().__init__(reason)
        number = isinstance(delay_s, int | float)
        if delay_s is not None and not (number and 0 <= delay_s <= self.MAX_DELAY_S):
            raise UsageError(
                f"RetryMessage: delay_s must be a number of seconds, 0 to "
                f"{self.MAX_DELAY_S:.0f}, not {delay_s!r}"
            )
        self.delay_s = delay_s
