"""The page on performance tells what was measured."""

import json
from pathlib import Path

from tests.benchmarks.tables import tables

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_has_the_tables_of_the_results_beside_it():
    page = (DOCS / "performance.md").read_text().splitlines()
    told = tables(json.loads((DOCS / "performance.json").read_text())).splitlines()
    assert [line for line in told if line not in page] == []  # scripts/bench tables
