"""What a turn with tool calls has beyond a plain one goes wrong once, call by call and within the
tools themselves; the chat's history and files too, in the whole matrix (scripts/faults)."""

import pytest

from tests.faults.real.case import ALL, PORTS
from tests.faults.real.matrix import matrix
from tests.faults.real.scenarios import CONTINUED, CONTINUED_WITH_TOOLS, TOOLS
from tests.integration.conftest import environ

__all__ = ["environ"]  # fixtures

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600 if ALL else 900)]


async def test_no_fault_of_a_tool_call_breaks_a_guarantee(environ, model, tmp_path):
    own = {"checkout.record", "transcript.has_call", "ledger.extend", "inbox.extend", "tool"}
    scenarios = [(TOOLS, own), *([(CONTINUED, None), (CONTINUED_WITH_TOOLS, None)] if ALL else [])]
    least = 300 if ALL else 40 if PORTS else 6
    await matrix("tool-calls", scenarios, environ, model, tmp_path, least=least)
