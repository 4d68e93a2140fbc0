"""A strict double of Amazon SQS for tests, independent of the library's own rules."""

from .double import Call, SQSDouble
from .errors import SQSError
from .faults import EntryFault
from .messages import MessageRecord
from .queues import Queue
from .store import Store

__all__ = ["Call", "EntryFault", "MessageRecord", "Queue", "SQSDouble", "SQSError", "Store"]
