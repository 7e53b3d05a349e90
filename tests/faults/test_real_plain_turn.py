"""Every port call of a plain turn goes wrong once, in real processes on real parts."""

import pytest

from tests.faults.real.case import PORTS
from tests.faults.real.matrix import matrix
from tests.faults.real.scenarios import PLAIN
from tests.integration.conftest import environ

__all__ = ["environ"]  # fixtures

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


async def test_no_fault_of_a_plain_turn_breaks_a_guarantee(environ, model, tmp_path):
    least = 60 if PORTS else 12
    await matrix("plain-turn", [(PLAIN, None)], environ, model, tmp_path, least=least)
