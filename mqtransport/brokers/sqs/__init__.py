"""Amazon SQS, and everything that speaks its protocol."""

from mqtransport.brokers.sqs.driver import SQSBroker

__all__ = ["SQSBroker"]
