"""Standard queues: at least once and in about any order, as far as an account misbehaves."""

from __future__ import annotations

from mqtransport.clock import Clock

from .attributes import Settings
from .line import StandardLine
from .messages import Message
from .misbehaviour import Misbehaviour
from .queues import Queue, Taken
from .receipts import ReceiptBook


class StandardQueue(Queue):
    """A standard queue.

    A message that has reached its ``maxReceiveCount`` is not repeated: it would become a dead
    letter while it is being handled.

    Args:
        name: its name.
        arn: its Amazon Resource Name.
        settings: its attributes.
        clock: the source of time.
        receipts: writes and reads receipt handles.
        misbehaviour: chooses what is repeated and in which order.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        settings: Settings,
        clock: Clock,
        receipts: ReceiptBook,
        misbehaviour: Misbehaviour,
    ) -> None:
        self._standard_line = StandardLine(misbehaviour)
        super().__init__(name, arn, settings, clock, receipts, self._standard_line)
        self._misbehaviour = misbehaviour

    def _delivered(self, taken: Taken) -> None:
        # Only now: a duplicate goes to another receive.
        for message, _ in taken:
            again = self._misbehaviour.delivers_again()
            if again and not message.repeated and not self._is_exhausted(message):
                self._standard_line.offer(message)
                self.changed(self)

    def _discard(self, message: Message) -> None:
        survives = self._misbehaviour.survives_delete()
        if survives and not message.survived and not self._is_exhausted(message):
            message.survived = True
            self._show(message)
        else:
            self._forget(message)
