"""From run folders to pages: rows, comparisons, marks, and files."""

import csv
import io
import json
import os
import re
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from recbole_enhance.leaderboard import analysis, collect, latex, measures, protocol, texts, wording
from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.testing.made_runs import make_board, make_run

PAGES = ("index.html", "board.md", "board.csv", "board.tex", "board.json", "significance.csv")


def analysed(folder):
    collected = collect.collect(folder)
    return [analysis.analyse(table, collected) for table in protocol.tables(collected.runs)]


def rows_of(folder, name):
    return list(csv.DictReader(io.StringIO((folder / name).read_text())))


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    folder = make_board(tmp_path_factory.mktemp("board"))
    build_board(folder, quiet=True)
    return folder


# ---- rows --------------------------------------------------------------------------------------


def test_rows_are_ranked_by_what_validation_selected_by(board):
    (table,) = analysed(board)
    assert table.main.key == "recall@10"
    means = [row.mean("recall@10") for row in table.rows]
    assert means == sorted(means, reverse=True)
    assert [row.title for row in table.rows][-1] == "Pop"
    assert {row.family for row in table.rows} == {"general", "method"}


def test_the_board_gives_the_order(tmp_path):
    make_run(tmp_path, "Pop", results={"recall@10": 0.5})
    make_run(tmp_path, "BPR", results={"recall@10": 0.9})
    rows = [{"label": "Pop"}, {"label": "BPR", "name": None}]
    (tmp_path / "board.yaml").write_text(json.dumps({"rows": rows}))
    assert [row.title for row in analysed(tmp_path)[0].rows] == ["Pop", "BPR"]


def test_settings_that_differ_never_share_a_row(tmp_path):
    for rate in (0.1, 0.2):
        for seed in (1, 2):
            make_run(
                tmp_path,
                seed=seed,
                results={"recall@10": rate},
                name=None,
                options={"learning_rate": rate},
                place=f"runs/{rate}/{seed}",
            )
    (table,) = analysed(tmp_path)
    assert [(row.title, row.seeds) for row in table.rows] == [
        ("BPR (learning_rate=0.2)", [1, 2]),
        ("BPR (learning_rate=0.1)", [1, 2]),
    ]


def test_a_repeated_run_counts_once_and_is_listed(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1}, place="runs/2020-a")
    make_run(tmp_path, results={"recall@10": 0.9}, place="runs/2020-a-2")
    (table,) = analysed(tmp_path)
    assert table.rows[0].mean("recall@10") == 0.1
    assert table.repeated[0].place == "runs/2020-a-2"
    assert "same options and seed as runs/2020-a" in table.repeated[0].reason


def test_mean_and_deviation_over_seeds(tmp_path):
    for seed, value in enumerate((0.1, 0.2, 0.6)):
        make_run(tmp_path, seed=seed, results={"recall@10": value})
    (row,) = analysed(tmp_path)[0].rows
    assert row.mean("recall@10") == pytest.approx(0.3)
    assert row.deviation("recall@10") == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))


def test_a_missing_value_has_a_reason(tmp_path):
    make_run(tmp_path, "BPR", 1, {"recall@10": 0.1, "ild@10": None})
    make_run(tmp_path, "Pop", 1, {"recall@10": 0.2, "ild@10": 0.5, "arp@10": 9.0})
    make_run(tmp_path, "Pop", 2, {"recall@10": 0.2, "ild@10": 0.5})
    rows = {row.label: row for row in analysed(tmp_path)[0].rows}
    assert rows["BPR"].reasons == {
        "ild@10": "no user has a value",
        "arp@10": "not among the metrics of the run",
    }
    assert rows["Pop"].reasons == {"arp@10": "1 of 2 seeds have a value"}


def test_rows_that_miss_metrics_for_one_reason_share_a_line(tmp_path):
    for label in ("BPR", "Pop"):
        make_run(tmp_path, label, 1, {"recall@10": 0.1, "ild@10": None, "ndcg@10": None})
    make_run(tmp_path, "EASE", 1, {"recall@10": 0.2, "ild@10": 0.5, "ndcg@10": 0.3})
    build_board(tmp_path, quiet=True)
    notes = [x for x in (tmp_path / "board.md").read_text().splitlines() if "no user has" in x]
    assert sorted(notes) == [
        "- ILD@10 of BPR, Pop: no user has a value.",
        "- NDCG@10 of BPR, Pop: no user has a value.",
    ]


def test_a_run_without_validation_is_no_trouble(tmp_path):
    """EFM: eval_step is 0, so there is no best epoch, and its score is minus infinity."""
    report = {"best_valid_score": None, "best_valid_result": {}, "best_epoch": None}
    make_run(tmp_path, "EFM", results={"recall@10": 0.1}, options={"eval_step": 0}, report=report)
    build_board(tmp_path, quiet=True)
    assert "the run was not validated" in (tmp_path / "index.html").read_text()


def test_only_failures_make_a_page_too(tmp_path):
    folder = tmp_path / "cells/toy/BPR/1"
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text('{"label": "BPR", "reason": "no data"}')
    build_board(tmp_path, quiet=True)
    assert "no data" in (tmp_path / "board.md").read_text()


# ---- comparisons -------------------------------------------------------------------------------


def test_a_method_is_compared_with_its_own_backbone(board):
    (table,) = analysed(board)
    pairs = {(c.row.title, c.base.title) for c in table.comparisons}
    assert pairs == {("DVR-BPR", "BPR"), ("DVR-LightGCN", "LightGCN")}
    first = next(
        c for c in table.comparisons if c.measure.key == "recall@10" and c.row.title == "DVR-BPR"
    )
    assert first.seeds.mean == pytest.approx(first.value - first.base_value)
    assert first.percent == pytest.approx(100 * first.seeds.mean / first.base_value)
    assert first.seeds.mean == pytest.approx(0.15, abs=0.02)
    assert first.verdict == "better"
    assert first.users.win == first.users.users == 40


def test_smaller_is_better_turns_the_verdict_and_not_the_sign(board):
    (table,) = analysed(board)
    arp = next(c for c in table.comparisons if c.measure.key == "arp@10" and c.base.label == "BPR")
    assert arp.seeds.mean == pytest.approx(-3, abs=0.1)
    assert arp.verdict == "better"
    assert (arp.users.win, arp.users.loss) == (40, 0)
    ild = next(c for c in table.comparisons if c.measure.key == "ild@10" and c.base.label == "BPR")
    assert ild.seeds.mean < 0
    assert ild.users is None
    assert ild.verdict == "worse"


def test_the_best_row_by_direction(board):
    (table,) = analysed(board)
    titles = [row.title for row in table.rows]
    assert [titles[n] for n in table.best["recall@10"][0]] == ["DVR-BPR"]
    assert [titles[n] for n in table.best["arp@10"][0]] == ["DVR-BPR"]
    assert [titles[n] for n in table.best["ild@10"][0]] == ["Pop"]
    assert [titles[n] for n in table.best["ild@10"][1]] == ["BPR"]
    assert len(table.best["groupgap@10"][0]) == 5  # all alike share the place


def test_seeds_that_only_one_has_are_left_out_of_the_pair(tmp_path):
    users = {"recall@10": [0.5, 0.5, 0.4]}
    for seed in (1, 2):
        make_run(tmp_path, "BPR", seed, users=users)
    for seed, lift in ((2, 0.1), (3, 0.5)):
        make_run(tmp_path, "DVR-BPR", seed, users={"recall@10": [0.5 + lift, 0.5 + lift, 0.4]})
    (c,) = analysed(tmp_path)[0].comparisons
    assert c.seeds.n == 1
    assert np.isnan(c.seeds.low)
    assert c.users.mean == pytest.approx(0.2 / 3)
    assert c.value == pytest.approx(0.5333)


def test_users_are_paired_by_name_and_not_by_place(tmp_path):
    base = pd.DataFrame({"recall@10": [0.1, 0.5, 0.9]}, index=["a", "b", "c"])
    method = pd.DataFrame({"recall@10": [0.9, 0.2, 0.3]}, index=["c", "a", "d"])
    make_run(tmp_path, "BPR", users=base)
    make_run(tmp_path, "DVR-BPR", users=method)
    (c,) = analysed(tmp_path)[0].comparisons
    assert (c.users.users, c.users.dropped) == (2, 2)
    assert c.users.mean == pytest.approx(0.05)
    assert (c.users.win, c.users.tie) == (1, 1)


def test_all_p_values_of_a_table_are_one_family(board):
    (table,) = analysed(board)
    p = [c.users.p_t for c in table.comparisons if c.users]
    holm = [c.corrected["t_holm"] for c in table.comparisons if c.users]
    assert len(p) == 4
    from statsmodels.stats.multitest import multipletests

    assert holm == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize(
    ("plain", "base", "reason"),
    [
        ([], None, "plain BPR has no finished run"),
        ([None], "BPR", ""),
        (["tuned"], "BPR (tuned)", ""),
        ([None, "tuned"], "BPR (tuned)", ""),
        ([None, "other"], "BPR", ""),
        (["one", "other"], None, "2 settings of plain BPR, none of them by this name"),
    ],
)
def test_which_backbone_a_method_is_held_against(tmp_path, plain, base, reason):
    make_run(tmp_path, "DVR-BPR", name="tuned", results={"recall@10": 0.2})
    make_run(tmp_path, "LightGCN", results={"recall@10": 0.2})
    for n, name in enumerate(plain):
        make_run(
            tmp_path,
            "BPR",
            name=name,
            results={"recall@10": 0.1 * n},
            options={"learning_rate": float(n)},
        )
    (table,) = analysed(tmp_path)
    of_method = [c.base.title for c in table.comparisons if c.row.label == "DVR-BPR"]
    assert of_method == ([base] if base else [])
    assert table.not_compared.get("DVR-BPR (tuned)", "") == reason


def test_a_board_says_which_row_a_row_is_compared_with(tmp_path):
    """Where the plain backbone does not run, a setting of the method stands for it."""
    for name, value in (("control", 0.1), ("start", 0.15), (None, 0.3)):
        for seed in (1, 2):
            make_run(tmp_path, "IaCN-WideDeep", seed, {"recall@10": value}, name=name)
    rows = [
        {"label": "IaCN-WideDeep", "name": "control"},
        {"label": "IaCN-WideDeep", "name": "start", "against": "lost"},
        {"label": "IaCN-WideDeep", "name": None, "against": "control"},
    ]
    (tmp_path / "board.yaml").write_text(json.dumps({"rows": rows}))
    (table,) = analysed(tmp_path)
    (c,) = table.comparisons
    assert (c.row.title, c.base.title) == ("IaCN-WideDeep", "IaCN-WideDeep (control)")
    assert c.seeds.mean == pytest.approx(0.2)
    assert table.not_compared == {
        "IaCN-WideDeep (control)": "plain WideDeep has no finished run",
        "IaCN-WideDeep (start)": "no finished rows over WideDeep are named lost",
    }


def test_a_mark_is_what_holm_finds_and_not_benjamini_hochberg(tmp_path):
    """Two tests, p near 0.03 and 0.04: the second is found by Benjamini and Hochberg alone."""

    def users_with(p, n=200):
        values = np.random.default_rng(0).normal(size=n)
        values = (values - values.mean()) / values.std(ddof=1)
        return values + stats.t.isf(p / 2, n - 1) / np.sqrt(n)

    lifts = {"recall@10": users_with(0.04), "ndcg@10": users_with(0.03)}
    for seed in (1, 2, 3):  # the interval over seeds is clear of 0
        base = {key: np.full(200, 0.5) for key in lifts}
        make_run(tmp_path, "BPR", seed, users=base)
        method = {key: 0.5 + lift for key, lift in lifts.items()}
        make_run(tmp_path, "DVR-BPR", seed, users=method)
    for c in analysed(tmp_path)[0].comparisons:
        assert c.corrected["t_bh"] == pytest.approx(0.04)
        assert c.corrected["t_holm"] == pytest.approx(0.06)
        assert c.seeds.low > 0
        assert c.verdict == ""


def test_means_of_a_comparison_take_the_seeds_in_which_both_have_a_value(tmp_path):
    """Seed 2 of the method and seed 3 of the backbone have none."""
    for seed, value, base in ((1, 0.5, 0.4), (2, None, 0.9), (3, 0.1, None), (4, 0.7, 0.5)):
        make_run(tmp_path, "BPR", seed, {"recall@10": 0.1, "ild@10": base})
        make_run(tmp_path, "DVR-BPR", seed, {"recall@10": 0.1, "ild@10": value})
    (table,) = analysed(tmp_path)
    c = next(c for c in table.comparisons if c.measure.key == "ild@10")
    assert (c.value, c.base_value) == (pytest.approx(0.6), pytest.approx(0.45))
    assert (c.seeds.n, c.seeds.mean) == (2, pytest.approx(0.15))
    assert c.percent == pytest.approx(100 * 0.15 / 0.45)
    row = next(row for row in table.rows if row.label == "DVR-BPR")
    assert row.mean("ild@10") == pytest.approx((0.5 + 0.1 + 0.7) / 3)
    assert row.reasons["ild@10"] == "3 of 4 seeds have a value"


def test_no_seed_in_common_is_said(tmp_path):
    make_run(tmp_path, "BPR", 1, {"recall@10": 0.1})
    make_run(tmp_path, "DVR-BPR", 2, {"recall@10": 0.2})
    assert analysed(tmp_path)[0].not_compared == {"DVR-BPR": "no seed in common with BPR"}


def test_a_difference_over_users_that_seeds_leave_open_is_marked_so(tmp_path):
    draw = np.random.default_rng(0)
    for seed, lift in ((1, 0.3), (2, 0.05)):  # the interval over two seeds holds 0
        base = draw.random(200) / 2
        make_run(tmp_path, "BPR", seed, users={"recall@10": base})
        make_run(tmp_path, "DVR-BPR", seed, users={"recall@10": base + lift * draw.random(200)})
    (c,) = analysed(tmp_path)[0].comparisons
    assert c.seeds.low < 0 < c.seeds.high
    assert c.verdict == "better maybe"
    assert wording.MARKS[c.verdict] == "△"


def test_users_and_seeds_that_contradict_each_other_find_nothing(tmp_path):
    """Users without a value in one run count for the seeds' means, and for no test over users."""
    draw = np.random.default_rng(0)
    for seed in (1, 2, 3):
        base = draw.random(200) / 2
        ours = base + 0.1 * draw.random(200)
        base[:80] += 0.45
        ours[:80] = np.nan
        make_run(tmp_path, "BPR", seed, users={"recall@10": base})
        make_run(tmp_path, "DVR-BPR", seed, users={"recall@10": ours})
    (c,) = analysed(tmp_path)[0].comparisons
    assert c.users.mean > 0 > c.seeds.high
    assert c.corrected["t_holm"] < 0.05
    assert c.verdict == ""


def test_the_ranks_take_the_seeds_that_all_rows_have(tmp_path):
    for label, level in (("Pop", 0.1), ("BPR", 0.2), ("LightGCN", 0.3)):
        for seed in (1, 2):
            value = level if seed == 1 else 0.4 - level  # turned round in the other seed
            if (label, seed) != ("Pop", 2):
                make_run(tmp_path, label, seed, users={"recall@10": [value] * 5})
    rows, found = analysed(tmp_path)[0].ranking
    ranks = {row.label: rank for row, rank in zip(rows, found.ranks)}
    assert ranks == {"LightGCN": 1, "BPR": 2, "Pop": 3}


# ---- metrics -----------------------------------------------------------------------------------


def test_directions_are_those_of_the_metrics():
    for key, title, family, direction in (
        ("ndcg@5", "NDCG@5", "accuracy", 1),
        ("logloss", "LogLoss", "accuracy", -1),
        ("arp@5", "ARP@5", "diversity", -1),
        ("ild@5", "ILD@5", "diversity", 1),
        ("groupgap@5", "GroupGap@5", "fairness", -1),
        ("exposureratio@5", "ExposureRatio@5", "fairness", 1),
    ):
        m = measures.measure_of(key)
        assert (m.title, m.family, m.direction) == (title, family, direction)
        assert m.about.endswith(".")
    assert "not RecBole's nor ours" in measures.measure_of("mymetric@3").about


def test_every_metric_of_ours_has_a_sentence():
    from recbole_enhance.metric.registry import BY_NAME

    for name, cls in BY_NAME.items():
        m = measures.measure_of(f"{name}@10")
        assert m.direction == (-1 if cls.smaller else 1)
        assert len(m.about) > 10, name
        assert "``" not in m.about


# ---- files -------------------------------------------------------------------------------------


def test_a_build_writes_every_page_and_the_plots(board):
    files = build_board(board, quiet=True)
    names = {path.relative_to(board).as_posix() for path in files}
    assert set(PAGES) <= names
    plots = {name for name in names if name.startswith("plots/")}
    assert plots == {
        f"plots/toy-{kind}.{suffix}"
        for kind in ("tradeoff", "groups-1", "gains-1", "ranks")
        for suffix in ("png", "svg")
    }
    assert not list(board.rglob("*.tmp"))


def test_a_second_build_gives_the_same_bytes(board):
    before = {path: path.read_bytes() for path in build_board(board, quiet=True)}
    after = {path: path.read_bytes() for path in build_board(board, quiet=True)}
    assert before == after


def test_plots_of_a_table_that_is_gone_go_too(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1, "ild@10": 0.5})
    (tmp_path / "plots").mkdir()
    for name in ("old-ranks.png", "mine.png"):
        (tmp_path / "plots" / name).write_text("x")
    build_board(tmp_path, quiet=True)
    assert sorted(p.name for p in (tmp_path / "plots").iterdir()) == [
        "mine.png",
        "toy-tradeoff.png",
        "toy-tradeoff.svg",
    ]


def test_an_error_leaves_the_earlier_pages(tmp_path):
    run = make_run(tmp_path, results={"recall@10": 0.1})
    build_board(tmp_path, quiet=True)
    before = (tmp_path / "index.html").read_bytes()
    (run / "metrics.json").write_text("{")
    with pytest.raises(ValueError, match="not JSON"):
        build_board(tmp_path, quiet=True)
    assert (tmp_path / "index.html").read_bytes() == before


def test_nothing_is_written_through_a_link(tmp_path):
    board = tmp_path / "board"
    make_run(board, results={"recall@10": 0.1, "ild@10": 0.5})
    (tmp_path / "outside").mkdir()
    os.symlink(tmp_path / "outside", board / "plots")
    with pytest.raises(ValueError, match="a link"):
        build_board(board, quiet=True)
    assert not list((tmp_path / "outside").iterdir())


def test_a_dataset_with_slashes_writes_inside(tmp_path):
    make_run(
        tmp_path,
        results={"recall@10": 0.1, "ild@10": 0.5},
        dataset="../../evil",
        place="cells/evil/BPR/1",
    )
    for path in build_board(tmp_path, quiet=True):
        assert tmp_path in path.resolve().parents


def test_csv_and_json_say_the_same(board):
    lines = rows_of(board, "board.csv")
    content = json.loads((board / "board.json").read_text())
    (table,) = content["tables"]
    assert len(lines) == 5 * 4
    for line in lines:
        row = next(row for row in table["rows"] if row["row"] == line["row"])
        result = row["results"][line["metric"]]
        assert float(line["mean"]) == result["mean"]
        assert (line["place"] == "best") == result["best"]
        assert int(line["seeds"]) == len(row["seeds"]) == 2
        assert line["protocol"] == table["protocol_sha256"]


def test_significance_has_all_comparisons_unrounded(board):
    lines = rows_of(board, "significance.csv")
    assert tuple(lines[0]) == texts.SIGNIFICANCE
    assert len(lines) == 2 * 4
    by = {(line["row"], line["metric"]): line for line in lines}
    gap = by["DVR-BPR", "groupgap@10"]
    assert gap["p_t"] == gap["users"] == ""
    assert float(gap["difference"]) == 0
    recall = by["DVR-BPR", "recall@10"]
    assert float(recall["p_t"]) <= float(recall["p_t_holm"])
    assert recall["verdict"] == "better"


def test_markdown_and_latex_mark_the_best(board):
    text = (board / "board.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| DVR-BPR | 2 |"))
    assert re.search(r"\*\*0\.\d{4} ± 0\.\d{4}\*\* ▲", row)
    assert f"Hash `{analysed(board)[0].table.digest}`." in text
    tex = (board / "board.tex").read_text()
    assert r"\textbf{0." in tex
    assert r"\underline{0." in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 3
    assert not re.search(r"[^\x00-\x7f]", tex)


def test_failed_rows_stand_in_every_page(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    folder = tmp_path / "cells/toy/NeuMF/1"
    folder.mkdir(parents=True)
    left = {"label": "NeuMF", "dataset": "toy", "variant": None, "seed": 1, "reason": "diverged"}
    (folder / "failure.json").write_text(json.dumps(left))
    build_board(tmp_path, quiet=True)
    for name in ("index.html", "board.md", "board.csv", "board.json"):
        assert "diverged" in (tmp_path / name).read_text(), name


def test_tuning_is_disclosed(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    tuned = tmp_path / "tuning/toy/BPR"
    tuned.mkdir(parents=True)
    (tuned / "tuning.json").write_text(
        '{"model": "BPR", "engine": "optuna", "trials": {"complete": 9, "pruned": 2},'
        ' "space": {"learning_rate": [0.1, 0.01]},'
        ' "best": {"number": 3, "value": 0.4, "options": {"learning_rate": 0.01}}}'
    )
    (tuned / "best.yaml").write_text("model: BPR\nlearning_rate: 0.01\n")
    build_board(tmp_path, quiet=True)
    page = (tmp_path / "index.html").read_text()
    assert "engine=optuna, trials: complete 9, pruned 2" in page
    assert "value 0.4000" in page
    assert "learning_rate=[0.1, 0.01]" in page
    assert "learning_rate=0.01" in page


def test_the_page_asks_no_host(board):
    page = (board / "index.html").read_text()
    own = page[: page.index("* plotly.js")]
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", own)
    assert "default-src 'none'" in own
    assert page.count("* plotly.js v") == 1


def test_names_are_data_in_every_page(tmp_path):
    hostile = "<script>alert(1)</script>"
    make_run(
        tmp_path,
        place="runs/1",
        results={"recall@10": 0.1, "ild@10": 0.5},
        users={"recall@10": [0.1, 0.2]},
        report={"label": hostile, "backbone": hostile},
        groups=[[hostile, hostile, 2, "recall@10", 0.1, 0, 1]],
        options={"val_interval": hostile},
    )
    make_run(
        tmp_path,
        place="runs/2",
        label="DVR-x",
        report={"label": f"DVR-{hostile}", "backbone": hostile},
        results={"recall@10": 0.2, "ild@10": 0.5},
        options={"val_interval": hostile},
    )
    build_board(tmp_path, quiet=True)
    page = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    # A code span shows its text as it is.
    assert not re.search(r"(?<!`)<script>", (tmp_path / "board.md").read_text())


def test_latex_and_markdown_escape():
    assert latex._tex("a_b & 5% {x} \\y #1 ~") == (
        r"a\_b \& 5\% \{x\} \textbackslash{}y \#1 \textasciitilde{}"
    )
    assert texts.md_text("a|b *c* <d>") == r"a\|b \*c\* \<d\>"


def test_it_needs_no_display(board, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    build_board(board, quiet=True)


@pytest.mark.parametrize("package", ["jinja2", "statsmodels", "matplotlib"])
def test_a_missing_package_is_named(board, monkeypatch, package):
    import importlib.util

    found = importlib.util.find_spec

    def find_spec(name, *rest):
        return None if name == package else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(ValueError, match=rf"{package} is missing: .* install .*{package}>="):
        build_board(board, quiet=True)


@pytest.mark.slow
def test_two_hundred_runs_in_ten_seconds(tmp_path):
    draw = np.random.default_rng(0)
    keys = [f"{m}@{k}" for m in ("recall", "ndcg", "hit", "ild", "arp", "epc") for k in (10, 20)]
    for n in range(40):
        label = f"M{n}" if n < 20 else f"DVR-M{n - 20}"
        for seed in range(5):
            make_run(tmp_path, label, seed, users=dict(zip(keys, draw.random((12, 943)))))
    start = time.process_time()  # of this process: others may use the cores beside it
    build_board(tmp_path, quiet=True)
    assert time.process_time() - start < 10
