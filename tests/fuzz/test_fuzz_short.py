"""A short run in CI: random bytes, and good input with some of it changed. The long one, guided by
coverage, is scripts/fuzz."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds


@st.composite
def damaged(draw, name):
    """A seed with a piece cut out, repeated or replaced; or any bytes."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=400))
    seed = draw(st.sampled_from(seeds(name)))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, min(len(seed), start + 64)))
    piece = draw(st.one_of(st.binary(max_size=16), st.just(seed[start:end] * 2), st.just(b"[" * 9)))
    return seed[:start] + piece + seed[end:]


@pytest.mark.parametrize("name", TARGETS)
def test_outside_bytes_lead_to_promised_errors_only(name):
    @settings(max_examples=50, suppress_health_check=list(HealthCheck))
    @given(damaged(name))
    def run(data):
        TARGETS[name](data)

    for seed in seeds(name):
        TARGETS[name](seed)
    run()


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("bomb", [b"[" * 20_000, b'{"a":' * 20_000, b"9" * 20_000, b"\xff" * 9])
def test_bombs_do_not_go_off(name, bomb):
    if name == "settings":  # YAML of the deployer's: its reader takes time by the square of depth
        bomb = bomb[:2000]
    TARGETS[name](bomb)
    TARGETS[name](b"\xff" + bomb)
