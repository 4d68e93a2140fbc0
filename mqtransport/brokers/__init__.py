"""The brokers this library speaks to, one module each, behind :mod:`mqtransport.broker`."""
