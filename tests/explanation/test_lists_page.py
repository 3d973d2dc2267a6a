"""The page of recommended lists."""

import re

import pandas as pd
import pytest

from recbole_enhance.explanation.lists_page import MOST_LISTS, lists_page, write_lists_page
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.worlds import run_toy


def table(n_users=2, **more):
    rows = [
        {"user_id": f"u{user}", "item_id": f"i{item}", "score": 2.0 - item, "rank": item + 1}
        for user in range(n_users)
        for item in range(3)
    ]
    return pd.DataFrame(rows).assign(**more)


def test_a_list_is_shown_by_titles_in_its_order():
    text = lists_page("RVRec-BPR", "<b>shop", table(title=["A & B", "=C", "D"] * 2))
    assert "<title>Recommendations: RVRec-BPR on &lt;b&gt;shop</title>" in text
    assert 'name="viewport"' in text
    assert re.findall(r"<h3>(u\d)", text) == ["u0", "u1"]
    shown = re.findall(r"<tr><td>(\d)</td><td class=\"name\">(.*?)</td><td>(.*?)</td>", text)
    assert [rank for rank, _, _ in shown] == ["1", "2", "3"] * 2
    assert ["A &amp; B" in name for _, name, _ in shown] == [True, False, False] * 2
    assert ["i1" in name and "=C" in name for _, name, _ in shown] == [False, True, False] * 2
    assert [score for _, _, score in shown] == ["2.0000", "1.0000", "0.0000"] * 2


def test_a_list_without_titles_shows_ids_and_how_new_users_were_read():
    text = lists_page("BPR", "shop", table(how="fold-in"))
    assert text.count("fold-in") == 2
    assert "i2" in text


def test_near_items_are_shown_by_similarity():
    near = table().rename(columns={"user_id": "item_id", "item_id": "similar_item_id"})
    text = lists_page("BPR", "shop", near.rename(columns={"score": "similarity"}))
    assert re.findall(r"<h3>Near (u\d)", text) == ["u0", "u1"]
    assert "Similarity" in text


def test_a_page_of_many_lists_is_refused_and_stays_small(toy, tmp_path):
    run = run_toy(toy, "BPR", epochs=1)["run_dir"]
    write_lists_page(run, table(MOST_LISTS), tmp_path / "lists.html")
    assert (tmp_path / "lists.html").stat().st_size < 300_000
    with pytest.raises(OptionError, match="at most 200 lists"):
        write_lists_page(run, table(MOST_LISTS + 1), tmp_path / "more.html")
    assert not (tmp_path / "more.html").exists()
    with pytest.raises(OptionError, match="no folder"):
        write_lists_page(run, table(), tmp_path / "no" / "lists.html")
