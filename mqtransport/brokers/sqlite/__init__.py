"""The durable embedded broker: a SQLite file, for several processes of one machine."""

from mqtransport.brokers.sqlite.driver import SQLiteBroker

__all__ = ["SQLiteBroker"]
