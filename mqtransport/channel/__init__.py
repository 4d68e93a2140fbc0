"""Channels: a queue in one direction, between participants and a broker.

The way of a message out: ``producing`` (what callers use), ``outgoing`` (validate and pack),
``outbox`` and, on ordered queues, ``ordered_outbox`` (the bounded buffer), ``sender`` (batches and
requests), ``landing`` (what follows from their answers; ``send_errors`` says it), the broker.

The way of a message in: the broker, ``polling`` (when to ask for how many), ``intake`` (who may
run, what follows from each outcome; ``lines`` is its logic), ``handling`` (one delivery, step by
step), ``calling`` (the consumer's function), ``dead_letters``, ``settling`` (ack and release), with
``leases`` renewed beside it all. ``in_hand`` counts what is ours; ``consuming`` is the channel.

``base`` is what both directions share, ``options`` their knobs; ``registry`` opens the queues and
``checking`` compares them with the code.
"""

from mqtransport.channel.base import Channel
from mqtransport.channel.consuming import ConsumingChannel
from mqtransport.channel.in_hand import Counts
from mqtransport.channel.options import ReceiveOptions, SendOptions
from mqtransport.channel.producing import ProducingChannel

__all__ = [
    "Channel",
    "ConsumingChannel",
    "Counts",
    "ProducingChannel",
    "ReceiveOptions",
    "SendOptions",
]
