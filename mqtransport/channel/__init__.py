"""Channels: a queue in one direction, between participants and a broker.

The way of a message out: ``producing`` (what callers use), ``outgoing`` (validate and pack),
``outbox`` (the bounded buffer), ``sender`` (batches, retries, confirmations), the broker.

The way of a message in: the broker, ``polling`` (when to ask for how many), ``consuming`` (the
channel), ``in_hand`` (what is ours, and the counts), ``handling`` (one delivery, step by step),
``calling`` (the consumer's function), ``dead_letters``, ``settling`` (ack and release), with
``leases`` renewed beside it all.

``base`` is what both directions share, ``options`` their knobs, ``registry`` opens the queues,
``checking`` compares them with the channels.
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
