import gzip
import re
from pathlib import Path

import pandas as pd
import pytest

from recbole_enhance.cli.program import main
from recbole_enhance.explanation.values import rank_all, rank_values, read_values, write_table
from recbole_enhance.explanation.values_page import values_page
from recbole_enhance.options.errors import OptionError, RunFolderError
from recbole_enhance.testing.worlds import run_toy


@pytest.fixture
def run_dir(toy):
    return Path(run_toy(toy, "DVR", epochs=4)["run_dir"])


def test_interactions_are_ranked(run_dir):
    table = rank_values(run_dir)
    raw = pd.read_csv(run_dir / "values.csv.gz")
    assert len(table) == len(raw)
    assert list(table.columns) == ["user_id", "item_id", "value", "standard_error"]
    assert (table["value"].diff().dropna() <= 0).all()
    assert table["value"].sum() == pytest.approx(raw["value"].sum())


@pytest.mark.parametrize(("by", "column"), [("user", "user_id"), ("item", "item_id")])
def test_sums_by_user_and_item(run_dir, by, column):
    table = rank_values(run_dir, by).set_index(column)
    raw = read_values(run_dir)
    groups = raw.groupby(column)
    expected = groups["value"].sum()
    pd.testing.assert_series_equal(table["value"].sort_index(), expected.sort_index())
    errors = (raw["standard_error"] ** 2).groupby(raw[column]).sum() ** 0.5
    pd.testing.assert_series_equal(
        table["standard_error"].sort_index(), errors.sort_index(), check_names=False
    )
    assert (table["interactions"].sort_index() == groups.size().sort_index()).all()
    assert (table["mean_value"] * table["interactions"] - table["value"]).abs().max() < 1e-12


def test_an_interaction_counts_for_each_category_of_its_item(toy, run_dir):
    table = rank_values(run_dir, "category").set_index("category")
    genres = {}
    for line in (toy / "toy" / "toy.item").read_text().splitlines()[1:]:
        item, names = line.split("\t")
        genres[item] = names.split()
    raw = read_values(run_dir)
    assert set(table.index) == {"g0", "g1", "g2", "g3", "old", "new"}
    for name, row in table.iterrows():
        mine = raw[[name in genres[item] for item in raw["item_id"]]]
        assert row["value"] == pytest.approx(mine["value"].sum())
        assert row["interactions"] == len(mine)


def test_titles_stand_beside_the_items(toy, tmp_path):
    import shutil

    folder = tmp_path / "data"
    shutil.copytree(toy, folder)
    path = folder / "toy" / "toy.item"
    lines = path.read_text().splitlines()
    named = [f"{lines[0]}\ttitle:token"] + [f"{x}\tThe {x.split()[0]}" for x in lines[1:]]
    path.write_text("\n".join(named) + "\n")
    run = run_toy(folder, "DVR", epochs=3)["run_dir"]
    for by in ("interaction", "item"):
        table = rank_values(run, by)
        assert (table["title"] == "The " + table["item_id"]).all()


def test_what_has_no_values_is_refused(toy, run_dir):
    with pytest.raises(RunFolderError, match="only runs of DVR"):
        rank_values(run_toy(toy, "BPR", epochs=1)["run_dir"])
    harsanyi = run_toy(toy, "DVR", epochs=1, dvr_values="harsanyi")["run_dir"]
    with pytest.raises(RunFolderError, match="dvr_values=harsanyi"):
        rank_values(harsanyi)
    with pytest.raises(OptionError, match="by=genre: one of interaction, user"):
        rank_values(run_dir, "genre")
    plain = run_toy(toy, "DVR", epochs=2, item_category_field=None)["run_dir"]
    with pytest.raises(OptionError, match="by=category: the run has no item_category_field"):
        rank_values(plain, "category")


def test_tokens_stay_text(run_dir):
    path = run_dir / "values.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("user_id,item_id,value,standard_error,times_seen\n007,NA,1.0,,1\n")
    table = read_values(run_dir)
    assert table.iloc[0, 0] == "007"
    assert table.iloc[0, 1] == "NA"
    assert table["standard_error"].isna().all()


def test_the_verb_prints_both_ends_and_writes_all(run_dir, capsys):
    assert main(["values", str(run_dir), "--by=item", "--top=3", "--out=items.csv"]) == 0
    out = capsys.readouterr().out
    table = rank_values(run_dir, "item")
    assert out.index("most valuable") < out.index(table["item_id"][0])
    assert len(out.splitlines()) == 2 * (2 + 3)
    written = pd.read_csv("items.csv")
    pd.testing.assert_frame_equal(written, table)
    assert main(["values", str(run_dir), "--out=items.txt"]) == 2
    assert "out=items.txt: a name that ends in .csv or .parquet" in capsys.readouterr().err


def test_the_page_shows_both_ends_of_everything(run_dir, tmp_path, capsys):
    path = tmp_path / "values.html"
    assert main(["values", str(run_dir), f"--html={path}", "--top=3", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    text = path.read_text(encoding="utf-8")
    assert "<title>Values of training interactions: DVR-" in text
    assert 'name="viewport"' in text
    assert len(text) < 300_000
    assert not re.search(r"[-\N{MINUS SIGN}]0\.?0*<", text)
    tables = rank_all(run_dir)
    assert list(tables) == ["interaction", "user", "item", "category"]
    for by, table in tables.items():
        section = text.split(f'<section class="board" id="{by}">')[1].split("</section>")[0]
        most, least = section.split("Least valuable</h3>")
        name = {"interaction": "item_id", "user": "user_id", "item": "item_id"}.get(by, by)
        for part, rows in ((most, table.head(3)), (least, table.tail(3).iloc[::-1])):
            shown = re.findall(r'<tr><td class="[a-z]+" data-value="([^"]*)"', part)
            expected = rows[name] if by != "interaction" else rows["user_id"]
            assert shown == expected.tolist()
            values = re.findall(r'</div></td>\s*<td data-value="([^"]*)"', part)
            assert [float(value) for value in values] == pytest.approx(rows["value"].tolist())


def test_a_short_ranking_has_each_row_once():
    frame = pd.DataFrame({"category": list("abc"), "value": [0.3, 0.0, -0.2]})
    frame = frame.assign(standard_error=[0.1, float("nan"), 0.1], mean_value=0.1, interactions=2)
    whole = pd.DataFrame({"user_id": ["u"], "item_id": ["<b>"], "value": [0.0]})
    whole["standard_error"] = float("nan")
    text = values_page("DVR-BPR", "<i>toy", {"interaction": whole, "category": frame}, 10)
    assert re.findall(r'class="name" data-value="([abc])"', text) == ["a", "b", "c"]
    assert "Seen once only" in text
    assert "<b>" not in text
    assert "<i>toy" not in text


@pytest.mark.parametrize(
    ("name", "message"), [("values.txt", "ends in .html"), ("no/values.html", "no folder")]
)
def test_a_page_that_cannot_be_written_is_refused_in_one_line(run_dir, name, message, capsys):
    assert main(["values", str(run_dir), f"--html={name}", "--quiet"]) == 2
    assert message in capsys.readouterr().err


def test_a_written_table_has_an_empty_cell_where_there_is_no_number(tmp_path):
    table = pd.DataFrame({"user_id": ["=u", "-1"], "value": [0.1 + 0.2, float("nan")], "n": [1, 2]})
    write_table(table, tmp_path / "v.csv")
    assert (tmp_path / "v.csv").read_text() == (
        "user_id,value,n\n'=u,0.30000000000000004,1\n-1,,2\n"
    )
