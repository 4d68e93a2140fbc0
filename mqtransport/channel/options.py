"""The knobs of the channels, as frozen values with their defaults and reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mqtransport.checks import check_kind, check_number
from mqtransport.errors import UsageError
from mqtransport.limits import MAX_LEASE_S
from mqtransport.policy import Backoff, OnRefused, Retry


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How a producing channel sends.

    Attributes:
        confirm: True: a send returns when the broker has the message; False: when it is in
            the bounded buffer.
        send_timeout_s: after which a send fails; more than 0. Twice the broker's call
            timeout, so that one lost call can be tried again.
        max_buffered: most messages in the buffer; beyond it callers wait.
        max_buffered_bytes: most bytes in the buffer.
        max_in_flight: most requests under way at a time.
        linger_s: how long a partial batch waits while another request is under way; with
            none under way it leaves at once.
        backoff: delays between attempts while the broker cannot be used; capped at a quarter of
            ``send_timeout_s``, so that every caller gets several attempts.
    """

    confirm: bool = True
    send_timeout_s: float = 10.0
    max_buffered: int = 1000
    max_buffered_bytes: int = 16 * 1024 * 1024
    max_in_flight: int = 8
    linger_s: float = 0.005
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=0.2, max_s=10.0))

    def __post_init__(self) -> None:
        for label in ("send_timeout_s", "linger_s"):
            check_number(label, getattr(self, label))
        for label in ("max_buffered", "max_buffered_bytes", "max_in_flight"):
            check_number(label, getattr(self, label), whole=True)
        check_kind("backoff", self.backoff, Backoff)
        if self.send_timeout_s <= 0:
            raise UsageError(f"send_timeout_s must be more than 0, not {self.send_timeout_s}")
        if self.max_buffered < 1 or self.max_buffered_bytes < 1 or self.max_in_flight < 1:
            raise UsageError("max_buffered, max_buffered_bytes and max_in_flight must be 1 or more")
        longest_s = min(self.backoff.max_s, self.send_timeout_s / 4)
        capped = Backoff(min(self.backoff.first_s, longest_s), longest_s, self.backoff.factor)
        object.__setattr__(self, "backoff", capped)


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """How a consuming channel receives and what it does with failures.

    Attributes:
        concurrency: handlers that run at a time; 1 or more.
        prefetch: deliveries held beyond that, waiting; 0 hoards nothing.
        wait_s: how long a poll waits for a message; capped by the broker (SQS: 20 s).
        lease_s: how long a delivery is ours before it must be renewed; 1 to 43,200 (SQS's 12 h).
        max_processing_s: longest run of a handler; then it is cancelled, which counts as a
            failure.
        retry: attempts and delays of failed messages.
        max_deliveries: deliveries after which a message is dead-lettered unrun; None takes
            three times ``retry.max_attempts``.
        on_unknown: what becomes of a message that no consumer is registered for. "release"
            suits rolling deploys: another process may know the name.
        on_invalid: what becomes of a message whose body does not fit the model.
        max_fence_s: on an ordered queue, how long in all a group may wait for retries in place of
            a failed delivery; 0 or more. Beyond it the group is given back to the broker.
        ack_linger_s: longest wait of an ack for company in its batch; less with a short lease,
            0.05 s while messages wait for a slot, and none on an ordered queue. It halves the
            requests of a calm queue.
        backoff: delays between polls while the broker cannot be used.
    """

    concurrency: int = 10
    prefetch: int = 0
    wait_s: float = 20.0
    lease_s: float = 30.0
    max_processing_s: float = 300.0
    retry: Retry = field(default_factory=Retry)
    max_deliveries: int | None = None
    on_unknown: OnRefused = "dead_letter"
    on_invalid: OnRefused = "dead_letter"
    max_fence_s: float = 60.0
    ack_linger_s: float = 0.2
    backoff: Backoff = field(default_factory=lambda: Backoff(first_s=1.0, max_s=30.0))

    def __post_init__(self) -> None:
        for label in ("concurrency", "prefetch"):
            check_number(label, getattr(self, label), whole=True)
        for label in ("wait_s", "lease_s", "max_processing_s", "max_fence_s", "ack_linger_s"):
            check_number(label, getattr(self, label))
        check_kind("retry", self.retry, Retry)
        check_kind("backoff", self.backoff, Backoff)
        if self.max_deliveries is not None:
            check_number("max_deliveries", self.max_deliveries, whole=True)
        if self.concurrency < 1:
            raise UsageError(f"concurrency must be 1 or more, not {self.concurrency}")
        if self.prefetch < 0:
            raise UsageError(f"prefetch must be 0 or more, not {self.prefetch}")
        if self.wait_s < 0 or self.max_processing_s <= 0:
            raise UsageError("it must be wait_s >= 0 and max_processing_s > 0")
        if not 0 <= self.max_fence_s < math.inf:
            raise UsageError(f"max_fence_s must be 0 or more, not {self.max_fence_s}")
        if not 1 <= self.lease_s <= MAX_LEASE_S:
            raise UsageError(f"lease_s must be 1 to {MAX_LEASE_S:.0f}, not {self.lease_s}")
        if self.max_deliveries is not None and self.max_deliveries < self.retry.max_attempts:
            raise UsageError("max_deliveries must not be below retry.max_attempts")
        for label, value in (("on_unknown", self.on_unknown), ("on_invalid", self.on_invalid)):
            if value not in ("dead_letter", "release"):
                raise UsageError(f'{label} must be "dead_letter" or "release", not {value!r}')

    @property
    def delivery_limit(self) -> int:
        """Deliveries after which a message is dead-lettered unrun."""
        return self.max_deliveries or self.retry.max_deliveries
