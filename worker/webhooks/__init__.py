"""Webhooks: events of the bus, signed and delivered to subscribers over HTTP.

What happens is in `consumer` (an event becomes one delivery for each subscription that wants it)
and `lane` (one subscription's deliveries, attempted when they are due). The rest is pure.
"""
