"""One mutation of each guarantee, and that all of them still apply. `scripts/mutate` runs all."""

from pathlib import Path

import pytest

from tests.mutation.__main__ import table
from tests.mutation.catalogue import MUTATIONS
from tests.mutation.laboratory import Verdict, experiment

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_each_guarantee_that_is_broken_in_memory_is_noticed_by_a_test():
    in_memory = [mutation for mutation in MUTATIONS if not mutation.real]
    one_each = {mutation.guarantee[:2]: mutation for mutation in reversed(in_memory)}
    assert len(one_each) == len("1234567")
    outcomes = experiment(list(one_each.values()))
    assert {outcome.verdict for outcome in outcomes} == {Verdict.KILLED}, table(outcomes)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies_to_the_source_as_it_is(mutation):
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1


def test_every_guarantee_has_mutations_and_each_its_own_name():
    assert {mutation.guarantee[:2] for mutation in MUTATIONS} == {f"G{n}" for n in range(1, 8)}
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
