"""The tutorial, docs/from_csv_to_lists.md: every command in its order, and what it should give."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from recbole_enhance.testing.shop import write_shop

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "from_csv_to_lists.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```", PAGE, re.S | re.M)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
RVREC, DVR = (Path("boards/shop/cells/shop", row, "2020") for row in ("RVRec-BPR", "DVR-BPR"))
TEXT = {"user_id": str, "item_id": str}


def call(words, folder, shell=False):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, shell=shell
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each command of the page printed, and the folder that they were run in."""
    folder, outputs = tmp_path_factory.mktemp("story"), []
    for command in COMMANDS:
        program, *words = shlex.split(command)
        if program == "printf":
            outputs.append(call(command, folder, shell=True))
            continue
        entry = [str(ROOT / "run_recbole_enhance.py")] if program == "recbole-enhance" else []
        assert program in ("recbole-enhance", "python")
        outputs.append(call([sys.executable, *entry, *words], folder))
    return folder, outputs


@pytest.fixture(scope="module")
def products(told):
    table = pd.read_csv(told[0] / "shop" / "products.csv", dtype=str)
    return dict(zip(table["sku"], table["name"]))


def test_the_story_is_short():
    assert 8 <= len(COMMANDS) <= 10


@pytest.mark.slow
def test_the_data_are_those_of_the_shop(told):
    assert "6,000 interactions of 300 users and 160 items" in told[1][1]
    assert "nothing is wrong" in told[1][2]
    account = json.loads((told[0] / RVREC / "data.json").read_text())
    assert "6000" in json.dumps(account)


@pytest.mark.slow
def test_the_board_compares_the_models(told):
    board = pd.read_csv(told[0] / "boards" / "shop" / "board.csv")
    means = board[board["metric"] == "ndcg@10"].set_index("row")["mean"]
    assert set(means.index) == {"BPR", "LightGCN", "DVR-BPR", "RVRec-BPR"}
    assert means["RVRec-BPR"] > means["BPR"] > 0.1  # what the shop has planted: two favourite kinds
    assert "groupgap@10" in set(board["metric"])


@pytest.mark.slow
def test_lists_have_titles_and_nothing_that_was_bought(told, products):
    lists = pd.read_csv(told[0] / "lists.csv", dtype=TEXT)
    assert lists.groupby("user_id").size().eq(10).all()
    assert lists["user_id"].nunique() == 300
    # A spreadsheet would run a title that begins with "=".
    shown = lists["title"].str.removeprefix("'")
    assert (shown == lists["item_id"].map(products)).all()
    bought = pd.read_csv(told[0] / "shop" / "purchases.csv", dtype=str)
    pairs = set(zip(bought["customer"], bought["sku"]))
    assert pairs.isdisjoint(zip(lists["user_id"], lists["item_id"]))


@pytest.mark.slow
def test_named_customers_and_visitors_get_lists(told):
    named, visitors = told[1][4], told[1][7]
    assert [named.count(user) for user in ("C0001", "C0002", "C0003")] == [5, 5, 5]
    assert [visitors.count(user) for user in ("visitor-1", "visitor-2")] == [3, 3]
    assert "fold-in" in visitors


@pytest.mark.slow
def test_reasons_and_values_have_titles(told, products):
    assert "Recommended because you bought " in told[1][8]
    most, least = told[1][9].split("least valuable:")
    for part in (most, least):
        assert sum(title in part for title in products.values()) == 5
    page = (told[0] / "values.html").read_text(encoding="utf-8")
    assert "<title>" in page
    assert len(page) < 300_000


@pytest.mark.slow
def test_the_python_of_the_page_gives_lists(told):
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    check = "assert len(lists) == 10 and lists['title'].notna().all()"
    call([sys.executable, "-c", f"{code}\n{check}"], told[0])


@pytest.mark.slow
def test_files_of_another_country_become_a_board_by_what_the_page_says(tmp_path):
    """Semicolons, decimal commas, other times, blanks in names, purchases that come again."""
    write_shop(tmp_path)
    log = pd.read_csv(tmp_path / "purchases.csv", dtype=str)
    when = pd.to_datetime(log["bought_at"]).dt.strftime("%d.%m.%Y %H:%M")
    log = log.assign(bought_at=when, price=log["price"].str.replace(".", ","))
    log = pd.concat([log, log.head(50)]).rename(columns={"customer": "Customer No"})
    log.to_csv(tmp_path / "log.csv", sep=";", index=False)
    products = pd.read_csv(tmp_path / "products.csv", dtype=str)
    products.assign(weight="1,5").to_csv(tmp_path / "items.csv", sep=";", index=False)
    told = ["--user=Customer No", "--time_format=%d.%m.%Y %H:%M", "--decimal=,"]
    for option in (
        '--user="Customer No"',
        '--time_format="%d.%m.%Y %H:%M"',
        "--decimal=,",
        "--rating=COLUMN",
        "--rm_dup_inter=first",
    ):
        assert f"`{option}`" in PAGE
    program = [sys.executable, str(ROOT / "run_recbole_enhance.py")]
    columns = [
        "--item=sku",
        "--time=bought_at",
        "--rating=price",
        "--title=name",
        "--category=kind",
    ]
    made = call(
        [*program, "data", "import", "log.csv", "--items=items.csv", *told, *columns, "--name=own"],
        tmp_path,
    )
    assert "price -> rating:float" in made
    assert "weight -> weight:float" in made
    once = "--rm_dup_inter=first"
    assert "nothing is wrong" in call([*program, "data", "check", "own", once], tmp_path)
    board = ["--models=Pop,BPR", "--dataset=own", "--seeds=1", "--epochs=1", "--metrics=NDCG,ILD"]
    rest = ["--topk=10", "--valid_metric=NDCG@10", "--out=board", once]
    call([*program, "leaderboard", "run", *board, *rest], tmp_path)
    rows = pd.read_csv(tmp_path / "board" / "board.csv")
    assert set(rows["row"]) == {"Pop", "BPR"}
    assert rows["mean"].between(0, 1).all()
