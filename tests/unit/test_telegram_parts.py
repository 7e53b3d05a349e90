from hypothesis import given
from hypothesis import strategies as st

from examples.telegram_bot import MAX_UNITS, parts

TEXTS = st.text(st.sampled_from("ab \n👋é"), max_size=40).map(lambda text: text * 600)


def units(text):
    return len(text.encode("utf-16-le")) // 2


@given(TEXTS)
def test_every_part_is_one_that_telegram_takes_and_no_word_is_lost(text):
    found = parts(text)
    assert all(0 < units(part) <= MAX_UNITS and part == part.strip() for part in found)
    if text.strip():
        assert "".join("".join(found).split()) == "".join(text.split())


def test_a_text_is_cut_between_paragraphs_then_lines_then_words():
    for separator in ("\n\n", "\n", " "):
        first, second = "a" * 3000, "b" * 3000
        assert parts(first + separator + second) == [first, second]


def test_a_word_that_is_longer_than_a_message_is_cut_between_characters():
    assert parts("👋" * 3000) == ["👋" * 2048, "👋" * 952]


def test_no_text_is_a_text():
    assert parts(" \n") == ["(no text)"]
