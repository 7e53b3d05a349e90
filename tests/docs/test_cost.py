"""The page on cost shows what the bench has counted, at the prices that the bench names."""

import json
from pathlib import Path

import pytest

from tests.benchmarks import cost

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("number", range(3))
def test_the_tables_of_the_page_are_the_bench_s_output(number):
    results = json.loads((DOCS / "cost.json").read_text())
    table = [*cost.tables(results).split("\n\n"), "\n".join(cost.prices())][number]
    assert table in (DOCS / "cost.md").read_text(), (
        "run `scripts/bench cost --out docs/cost.json` and copy its tables into docs/cost.md"
    )


def test_a_request_of_more_than_64_kb_is_billed_as_several():
    name = cost.name_of(warm=True, turns=cost.SMALL)
    results = json.loads((DOCS / "cost.json").read_text())
    before = cost.bill(results, name)
    results["bytes_sent_per_job"][name]["sqs.DeleteMessage"] = 2.5 * cost.CHUNK
    after = cost.bill(results, name)
    assert after["SQS"] - before["SQS"] == pytest.approx(2 * 0.50 / 1000)
    assert {k for k in before if before[k] != after[k]} == {"SQS"}
