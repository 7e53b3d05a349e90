"""The page on scale shows what the simulation says."""

from pathlib import Path

from tests.benchmarks.simulate import RESULTS, page

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


def test_the_table_of_the_page_is_the_simulation_s_output():
    table = "\n".join(page(RESULTS))
    assert table in PAGE.read_text(), (
        f"put the output of `scripts/simulate --page` into docs/scale.md:\n{table}"
    )
