"""An in-memory twin of every port, for tests of the story and for trying a policy out.

They keep the contracts of ports.py: the conformance suite runs over them and over the adapters of
the real systems alike. Nothing here sleeps: `ManualClock` moves when it is told to.
"""

from worker.adapters.memory.agent import MemoryAgent, Script
from worker.adapters.memory.attachments import MemoryAttachments
from worker.adapters.memory.checkouts import TOOL_LINE, MemoryCheckout, MemoryCheckouts
from worker.adapters.memory.clock import ManualClock
from worker.adapters.memory.desk import MemoryDeadLetters, MemoryDocuments, MemoryRows
from worker.adapters.memory.inbox import MemoryInbox
from worker.adapters.memory.ledger import MemoryLedger
from worker.adapters.memory.results import MemoryJournal, MemoryPublisher, MemoryResults
from worker.adapters.memory.usage import MemoryRules, MemoryUsage

__all__ = [
    "TOOL_LINE",
    "ManualClock",
    "MemoryAgent",
    "MemoryAttachments",
    "MemoryCheckout",
    "MemoryCheckouts",
    "MemoryDeadLetters",
    "MemoryDocuments",
    "MemoryInbox",
    "MemoryJournal",
    "MemoryLedger",
    "MemoryPublisher",
    "MemoryResults",
    "MemoryRows",
    "MemoryRules",
    "MemoryUsage",
    "Script",
]
