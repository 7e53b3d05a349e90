"""The terminal pictures in the pages are what the commands print."""

import pytest

from tests.screens.pictures import FOLDER, PICTURES, draw


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_what_the_command_prints(name):
    drawn = (FOLDER / f"{name}.svg").read_text()
    assert drawn == draw(name), "scripts/screens draws it anew"
