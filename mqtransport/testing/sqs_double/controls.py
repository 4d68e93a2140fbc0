"""What a test may do to a double: lower its limits, and let it fail and misbehave."""

from __future__ import annotations

from .errors import KEY_ERRORS
from .faults import Chooser, EntryFault, Faults, chooser
from .store import Store
from .thread import LoopBound, on_loop


class Controls(LoopBound):
    """The controls of a double; every method may be called from any thread.

    Args:
        store: the queues of the double.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._faults = Faults()

    @on_loop
    def lower_limit(self, queue: str, limit_bytes: int) -> None:
        """Set a queue's ``MaximumMessageSize``, also below AWS's minimum of 1,024 bytes.

        Raises:
            SQSError: ``QueueDoesNotExist``.
        """
        self.store.get(queue).settings.lower_limit(limit_bytes)

    @on_loop
    def limit_in_flight(self, queue: str, messages: int) -> None:
        """Set how many messages may be in flight; AWS's limit is 120,000.

        A standard queue then answers ``OverLimit``, a FIFO queue without messages.

        Raises:
            SQSError: ``QueueDoesNotExist``.
        """
        self.store.get(queue).max_in_flight = messages

    @on_loop
    def spoil_key(self, queue: str, error: str | None) -> None:
        """Let sends and receives of a queue fail because its KMS key cannot be used.

        Args:
            queue: a queue with a ``KmsMasterKeyId``.
            error: ``KmsAccessDenied``, ``KmsDisabled``, ``KmsInvalidKeyUsage``,
                ``KmsInvalidState``, ``KmsNotFound``, ``KmsOptInRequired`` or ``KmsThrottled``;
                None makes the key usable again.

        Raises:
            SQSError: ``QueueDoesNotExist``.
            ValueError: the queue has no key, or there is no such error.
        """
        found = self.store.get(queue)
        if not found.settings.has_key:
            raise ValueError(f"queue {queue!r} has no KmsMasterKeyId")
        if error is not None and error not in KEY_ERRORS:
            raise ValueError(f"{error!r} is none of {', '.join(KEY_ERRORS)}")
        found.key_error = error
        found.changed(found)

    @on_loop
    def fail_entries(
        self,
        action: str,
        chosen: Chooser | float,
        *,
        code: str = "InternalError",
        sender_fault: bool = False,
        seed: int = 0,
    ) -> EntryFault:
        """Put chosen entries of an action's batches into ``Failed``, not carried out.

        Args:
            action: ``SendMessageBatch``, ``DeleteMessageBatch``, ``ChangeMessageVisibilityBatch``.
            chosen: a predicate on the entry, or the fraction of entries to hit.
            code: the entry's ``Code``.
            sender_fault: the entry's ``SenderFault``.
            seed: seed of the fraction.

        Returns:
            The fault; its ``hits`` counts the entries.
        """
        choice = chooser(chosen, seed)
        return self._faults.add(EntryFault(action, choice, code, sender_fault))

    @on_loop
    def drop_entries(
        self, action: str, chosen: Chooser | float, *, applied: bool = False, seed: int = 0
    ) -> EntryFault:
        """Let chosen entries of an action's batches appear in neither list of the answer.

        Args:
            action: as for :meth:`fail_entries`.
            chosen: as for :meth:`fail_entries`.
            applied: whether they are carried out all the same.
            seed: seed of the fraction.

        Returns:
            The fault; its ``hits`` counts the entries.
        """
        choice = chooser(chosen, seed)
        return self._faults.add(EntryFault(action, choice, None, applied=applied))

    @on_loop
    def throttle(self, action: str, count: int = 1, *, code: str = "RequestThrottled") -> None:
        """Refuse the next ``count`` requests of an action (``*``: of any).

        Args:
            action: the action.
            count: how many requests.
            code: ``RequestThrottled`` (403), ``ThrottlingException`` (400), or any other code.
        """
        self._faults.throttle(action, count, code)

    @on_loop
    def misbehave(
        self,
        *,
        seed: int = 0,
        duplicates: float = 0.0,
        reorder: bool = False,
        short_polls: float = 0.0,
        throttle: float = 0.0,
        entry_failures: float = 0.0,
    ) -> None:
        """Do from now on what AWS may do at any time; the last call holds.

        The same seed and the same requests in the same order give the same misbehaviour. FIFO
        queues never repeat, reorder or overlook messages.

        Args:
            seed: seed of all choices.
            duplicates: share of deliveries whose message another receive gets as well, while it is
                in flight, with a new receipt that makes the old one useless; and share of deletes
                after which the message comes once more. With 1.0 each happens to every message
                once, and not endlessly.
            reorder: whether messages come in any order.
            short_polls: share of receives without a wait that find fewer messages than there are,
                or none.
            throttle: share of requests refused with ``RequestThrottled``.
            entry_failures: share of entries of batches refused with ``InternalError``.

        Raises:
            ValueError: a share is not between 0 and 1.
        """
        for share in (duplicates, short_polls, throttle, entry_failures):
            if not 0 <= share <= 1:
                raise ValueError(f"a share is between 0 and 1, not {share}")
        self.store.misbehaviour.start(
            seed=seed, duplicates=duplicates, reorder=reorder, short_polls=short_polls
        )
        self._faults.misbehave(seed, throttle, entry_failures)

    @on_loop
    def clear_faults(self) -> None:
        """Lift what ``fail_entries``, ``drop_entries``, ``throttle`` and ``misbehave`` did."""
        self._faults.clear()
        self.store.misbehaviour.start()
