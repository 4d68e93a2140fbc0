"""Channels: a queue in one direction, between participants and a broker."""

from mqtransport.channel.base import Channel
from mqtransport.channel.consuming import ConsumingChannel
from mqtransport.channel.hand import Counts
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
