"""Each other ending of a message: what it has beyond a plain turn goes wrong once."""

import pytest

from tests.faults.real.case import ALL, PORTS
from tests.faults.real.matrix import matrix
from tests.faults.real.scenarios import FAILED, LARGE, ON_LAMBDA, REJECTED, RETRIED, SLICED
from tests.integration.conftest import environ

__all__ = ["environ"]  # fixtures

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600 if ALL else 900)]


async def test_no_fault_of_another_ending_breaks_a_guarantee(environ, model, tmp_path):
    scenarios = [
        (REJECTED, None),
        (FAILED, {"ledger.fail", "queue.quarantine"}),
        (RETRIED, {"ledger.release", "checkout.record", "queue.extend"}),
        (LARGE, {"results.store"}),
        *([(ON_LAMBDA, None), (SLICED, None)] if ALL else []),
    ]
    least = 500 if ALL else 70 if PORTS else 10
    await matrix("endings", scenarios, environ, model, tmp_path, least=least)
