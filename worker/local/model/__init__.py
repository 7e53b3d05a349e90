"""The scripted model: a Messages API server on loopback that answers by fixed rules.

It stands in for the model in tests and in the demo that needs no account. `script.HELP` is what
it understands.
"""

from worker.local.model.server import ScriptedModel

__all__ = ["ScriptedModel"]
