"""Pages of docs/: the commands of the guides, letter by letter, and the numbers they quote."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import quoted_boards

from recbole_enhance.cli.program import main
from recbole_enhance.enhancer import ENHANCERS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# These pages have tests of their own; torchrun (scale.md) is run by tests/training.
ELSEWHERE = {"from_csv_to_lists.md", "recommend.md", "scale.md", "your_own_method.md"}
GUIDES = [
    page.name
    for page in sorted(DOCS.glob("*.md"))
    if "```bash" in page.read_text(encoding="utf-8") and page.name not in ELSEWHERE
]
# What the last command of a page prints, or a file that the page's commands leave.
GIVES = {
    "index.md": "boards/first/index.html",
    "install.md": "recbole",
    "runs.md": "run folder: runs/ml-100k/DVR-LightGCN/",
    "which_method.md": "runs/vanilla/attack.html",
    "compare_your_method.md": "boards/model/index.html",
    "coming_from_recbole.md": "run folder: runs/ml-100k/AOBPR-NewModel/",
    "reading_a_board.md": "boards/first/significance.csv",
    "how_numbers_are_made.md": "enhancer = ",
    "faq.md": "LightGCN",
}


def commands(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.S | re.M)
    return [line for block in blocks for line in block.splitlines()]


def write_files(page):
    """Write the files that a page shows: `name`, some words and a colon, then a fence."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, content in re.findall(r"`(\w+\.\w+)`[^`]*?:\n\n```\w+\n(.*?)```", text, re.S):
        Path(name).write_text(content, encoding="utf-8")


def test_every_guide_with_commands_is_run():
    assert set(GUIDES) == set(GIVES)


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES)
def test_the_commands_of_a_page_do_what_they_say(page, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), *sys.path])
    write_files(page)
    lines = commands(page)
    assert lines
    for line in lines:
        program, *words = shlex.split(line)
        if program == "python":  # the same program, in a checkout
            assert words.pop(0) == "run_recbole_enhance.py"
        else:
            assert program == "recbole-enhance"
        capsys.readouterr()
        status = main(words)
        out, err = capsys.readouterr()
        assert status == 0, (line, err)
    sys.modules.pop("newmodel", None)
    assert GIVES[page] in out or Path(GIVES[page]).is_file()


def test_every_method_is_in_the_table_and_has_a_page():
    table = (DOCS / "methods.md").read_text(encoding="utf-8")
    for name in ENHANCERS:
        assert f"| {name} |" in table
        assert (DOCS / "papers" / f"{name.lower()}.md").is_file()


def test_tables_of_changes_are_those_of_the_boards():
    quoted = 0
    for page in sorted(DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        tables = list(quoted_boards.TABLE.finditer(text))
        assert len(tables) == text.count("<!-- changes:")
        for table in tables:
            assert table[0] == quoted_boards.filled(table), page
            quoted += 1
    assert quoted >= 5


def test_pictures_are_small():
    for picture in (DOCS / "pictures").iterdir():
        assert picture.stat().st_size < 150_000
