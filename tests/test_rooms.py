"""The package as a house: rooms that say what they are for, and files that one reads whole."""

import ast
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "recbole_enhance"
ROOMS = {path.parent for path in HOUSE.glob("*/__init__.py")}
MOST_LINES = 500
LONGER = {"leaderboard/texts.py": 505}  # the pages' words, in one place


def test_there_are_few_rooms_and_nothing_between_them():
    assert 0 < len(ROOMS) <= 17
    assert {path.parent for path in HOUSE.glob("*/*.py")} == ROOMS
    doors = {"__init__.py", "__main__.py", "quick_start.py"}
    assert {path.name for path in HOUSE.glob("*.py")} == doors


def test_a_file_is_short_enough_to_read():
    lines = {
        str(path.relative_to(HOUSE)): len(path.read_text().splitlines())
        for path in HOUSE.rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > LONGER.get(name, MOST_LINES)} == {}


def test_a_room_says_in_a_line_what_it_is_for():
    for room in ROOMS:
        sentence = ast.get_docstring(ast.parse((room / "__init__.py").read_text()))
        assert sentence, room
        assert "\n" not in sentence.partition("\n\n")[0], room
        assert sentence.endswith("."), room
