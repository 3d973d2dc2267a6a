"""What counts as a run, what is listed only, and what is refused in one line."""

import json
import os

import numpy as np
import pytest

from recbole_enhance.leaderboard import collect, protocol, wording
from recbole_enhance.leaderboard.analysis import make_rows
from recbole_enhance.leaderboard.measures import measure_of
from recbole_enhance.leaderboard.ranks import best_rows
from recbole_enhance.testing.made_runs import HASHES, OPTIONS, make_board, make_run


def refused(call, *arguments):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the line is looked at
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_board_is_read_in_a_fixed_order(tmp_path):
    make_board(tmp_path)
    found = collect.collect(tmp_path)
    places = [run.place for run in found.runs]
    assert places == sorted(places)
    assert len(places) == 10
    assert found.failed == found.unfinished == []
    assert {run.label for run in found.runs} == {
        "Pop",
        "BPR",
        "DVR-BPR",
        "LightGCN",
        "DVR-LightGCN",
    }


def test_a_users_own_folder_of_runs_will_do(tmp_path):
    make_run(tmp_path, place="runs/toy/BPR/2020-1a2b3c4d", results={"recall@10": 0.1})
    assert [run.name for run in collect.collect(tmp_path).runs] == [None]


def test_a_name_comes_from_the_cells_folder(tmp_path):
    make_run(tmp_path, "DVR-BPR", name="ild", results={"recall@10": 0.1})
    make_run(tmp_path, "DVR-BPR", results={"recall@10": 0.1})
    assert {run.name for run in collect.collect(tmp_path).runs} == {None, "ild"}


def test_what_is_not_finished_or_failed_is_listed(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(tmp_path, "DVR-BPR", results={}).joinpath("metrics.json").unlink()
    own = {"model": "my.methods:Mine", "backbone": "BPR"}
    make_run(tmp_path, "Mine-BPR", results={}, options=own).joinpath("metrics.json").unlink()
    failed = tmp_path / "cells/toy/NeuMF/2021"
    failed.mkdir(parents=True)
    (failed / "failure.json").write_text(
        json.dumps({"label": "NeuMF", "dataset": "toy", "seed": 2021, "reason": "out\nof memory"})
    )
    found = collect.collect(tmp_path)
    assert len(found.runs) == 1
    assert [(c.label, c.seed, c.reason) for c in found.unfinished] == [
        ("DVR-BPR", 2020, "not finished"),
        ("Mine-BPR", 2020, "not finished"),
    ]
    assert [(c.label, c.seed, c.reason) for c in found.failed] == [("NeuMF", 2021, "out of memory")]


def test_a_cell_that_succeeded_after_all_is_a_run(tmp_path):
    (make_run(tmp_path, results={"recall@10": 0.1}) / "failure.json").write_text("{}")
    found = collect.collect(tmp_path)
    assert len(found.runs) == 1
    assert not found.failed


def test_no_link_is_followed(tmp_path):
    outside = make_run(tmp_path / "outside", results={"recall@10": 0.1})
    board = tmp_path / "board"
    make_run(board, "Pop", results={"recall@10": 0.1})
    os.symlink(outside, board / "cells" / "toy" / "BPR")
    linked = make_run(board, "LightGCN", results={"recall@10": 0.9})
    (linked / "metrics.json").unlink()
    os.symlink(outside / "metrics.json", linked / "metrics.json")
    found = collect.collect(board)
    assert [run.label for run in found.runs] == ["Pop"]
    assert [cell.label for cell in found.unfinished] == ["LightGCN"]


def test_trials_of_tuning_and_hidden_folders_are_no_rows(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(tmp_path, results={"recall@10": 0.5}, place="tuning/toy/BPR/trial-1")
    make_run(tmp_path, results={"recall@10": 0.5}, place="cells/.trash/BPR/2020")
    tuned = tmp_path / "tuning/toy/BPR"
    (tuned / "tuning.json").write_text('{"trials": {"COMPLETE": 9}, "space": {"lr": "uniform"}}')
    (tuned / "best.yaml").write_text("learning_rate: 0.01\n")
    found = collect.collect(tmp_path)
    assert len(found.runs) == 1
    assert found.tuning["toy/BPR"]["chosen"] == {"learning_rate": 0.01}


def test_a_folder_that_is_no_board(tmp_path):
    assert "no such folder" in refused(collect.collect, tmp_path / "nowhere")
    assert "no run folder below it" in refused(collect.collect, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("config.yaml", None, "config.yaml is missing"),
        ("config.yaml", "- a\n- b\n", "a mapping of options is expected"),
        ("config.yaml", "a: [", "config.yaml: while parsing"),
        ("config.yaml", "a: &x [*x]", "*x contains itself"),
        ("metrics.json", "{", "not JSON"),
        ("metrics.json", "[1]", "a mapping is expected"),
        ("metrics.json", "{}", "metrics.json: test_result: Field required"),
        (
            "metrics.json",
            '{"test_result": {"a": "<b>"}, "label": "B", "dataset": "t", "seed": 1}',
            "metrics.json: test_result.a: Input should be a valid",
        ),
        ("env.json", "nonsense", "not JSON"),
    ],
)
def test_a_run_folder_that_is_not_one(tmp_path, name, content, says):
    path = make_run(tmp_path, results={"recall@10": 0.1}) / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    text = refused(collect.collect, tmp_path)
    assert says in text
    assert str(path.parent) in text


def test_users_are_text_and_an_empty_cell_is_no_value(tmp_path):
    run = make_run(tmp_path, users={"recall@10": [0.5, np.nan]})
    table = collect.per_user(collect.collect(tmp_path).runs[0])
    assert table.index.tolist() == ["u0", "u1"]
    assert np.isnan(table["recall@10"]["u1"])
    (run / "per_user.csv.gz").write_bytes(b"no gzip")
    assert "not gzip" in refused(collect.per_user, collect.collect(tmp_path).runs[0])


def test_users_called_na_or_001_keep_their_names(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"hit@10": [1.0, 0.0, 1.0]}, index=["NA", "001", "1"])
    make_run(tmp_path, users=frame)
    table = collect.per_user(collect.collect(tmp_path).runs[0])
    assert table.index.tolist() == ["NA", "001", "1"]


def test_no_users_and_no_groups(tmp_path):
    make_run(tmp_path, results={"auc": 0.7})
    run = collect.collect(tmp_path).runs[0]
    assert collect.per_user(run) is None
    assert collect.groups(run) is None


# ---- protocol ----------------------------------------------------------------------------------


def tables(folder):
    return protocol.tables(collect.collect(folder).runs)


def test_training_is_no_part_of_the_protocol(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    other = {
        "learning_rate": 0.1,
        "epochs": 300,
        "train_neg_sample_args": None,
        "eval_step": 0,
        "data_path": "/elsewhere",
        "metrics": ["Recall"],
        "eval_batch_size": 9,
    }
    make_run(tmp_path, "DVR-BPR", results={"recall@10": 0.1}, options=other)
    (table,) = tables(tmp_path)
    assert len(table.runs) == 2
    assert len(table.digest) == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"topk": [20]}, "topk=[10] in"),
        ({"valid_metric": "NDCG@10"}, "valid_metric=Recall@10 in"),
        ({"repeatable": True}, "seen_items=left out in"),
        ({"threshold": {"rating": 4}}, "threshold=null in"),
        ({"user_inter_num_interval": "[5,inf)"}, "user_inter_num_interval=null in"),
        ({"load_col": {"inter": ["user_id", "item_id", "rating"]}}, "load_col.inter="),
        ({"eval_args": {**OPTIONS["eval_args"], "order": "TO"}}, "eval_args.order=RO in"),
        (
            {"eval_args": {**OPTIONS["eval_args"], "mode": {"valid": "full", "test": "uni100"}}},
            "eval_args.mode=",
        ),
        (
            {"eval_args": {**OPTIONS["eval_args"], "split": {"LS": "valid_and_test"}}},
            "eval_args.split=",
        ),
        ({"item_category_field": "genre"}, "item_category_field=class in"),
        ({"group_fields": ["gender"]}, "group_fields=null in"),
    ],
)
def test_two_protocols_of_one_dataset_are_refused(tmp_path, options, says):
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(tmp_path, "DVR-BPR", results={"recall@10": 0.1}, options=options)
    text = refused(tables, tmp_path)
    assert text.startswith("dataset=toy: two protocols in one table, ")
    assert says in text


LAST = {**OPTIONS["eval_args"], "split": {"LS": "valid_and_test"}, "order": "TO"}
DRAWN = {"valid": "uni100", "test": "uni100"}


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize(
    ("general", "sequential", "difference"),
    [
        # (options of BPR, of SASRec): RecBole gives every sequential model repeatable=true.
        ({"eval_args": LAST}, {"mask_history": True}, None),
        ({"eval_args": LAST}, {"mask_history": False}, "seen_items=left out in"),
        ({}, {"mask_history": True}, "lists=one for each user in"),
        ({"eval_args": {**LAST, "mode": DRAWN}}, {"mask_history": True}, "seen_items=left out in"),
    ],
)
def test_general_and_sequential_models_share_a_table_if_they_rank_the_same(
    tmp_path, general, sequential, difference, told
):
    kinds = ({"model_type": kind} if told else {} for kind in ("general", "sequential"))
    results = {"recall@10": 0.1}
    make_run(tmp_path, results=results, options=general, report=next(kinds))
    options = {**general, **sequential, "repeatable": True}
    make_run(tmp_path, "SASRec", results=results, options=options, report=next(kinds))
    if difference is None:
        assert len(tables(tmp_path)[0].runs) == 2
    else:
        assert difference in refused(tables, tmp_path)


def test_a_general_model_that_ranks_seen_items_has_one_list_for_each_user(tmp_path):
    options = {"repeatable": True, "mask_history": True}
    report = {"model_type": "general"}
    make_run(tmp_path, results={"recall@10": 0.1}, options=options, report=report)
    found = tables(tmp_path)[0].protocol
    assert (found["seen_items"], found["lists"]) == ("ranked", "one for each user")


def test_other_data_of_the_same_name_are_another_protocol(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(
        tmp_path, seed=2021, results={"recall@10": 0.1}, hashes={**HASHES, "toy.inter": "d" * 64}
    )
    assert "data_sha256=" in refused(tables, tmp_path)


def test_other_rows_of_the_same_files_are_another_protocol(tmp_path):
    """Columns of items or users decide which interactions, users and items there are."""
    for n, (items, load) in enumerate(((16, {}), (12, {"item": ["item_id", "class"]}))):
        make_run(
            tmp_path,
            seed=n,
            results={"recall@10": 0.1},
            report={"data": {"interactions": 280, "users": 40, "items": items}},
            options={"load_col": {"inter": ["user_id", "item_id"], **load}},
        )
    text = refused(tables, tmp_path)
    assert '"items": 16} in' in text
    assert '"items": 12} in' in text
    assert '"item": ["item_id", "class"]' in text


def test_two_classes_of_one_name_have_rows_of_their_own(tmp_path):
    for seed, backbone in ((1, "BPR"), (2, "BPR"), (1, "mymod:BPR"), (2, "mymod:BPR")):
        make_run(
            tmp_path,
            seed=seed,
            place=f"runs/{backbone[:3]}{seed}",
            results={"recall@10": 0.1},
            options={"model": backbone, "backbone": backbone},
        )
    collected = collect.collect(tmp_path)
    (table,) = protocol.tables(collected.runs)
    rows, repeated = make_rows(table, collected)
    assert [row.title for row in rows] == ["BPR (backbone=BPR)", "BPR (backbone=mymod:BPR)"]
    assert [row.seeds for row in rows] == [[1, 2], [1, 2]]
    assert not repeated


def test_results_are_told_apart_by_the_decimals_that_were_asked(tmp_path):
    for label, value in (("BPR", 0.000262), ("LightGCN", 0.000333)):
        options = {"metric_decimal_place": 6}
        make_run(tmp_path, label, results={"recall@10": value}, options=options)
    collected = collect.collect(tmp_path)
    (table,) = protocol.tables(collected.runs)
    rows, _ = make_rows(table, collected)
    assert [wording.spread(row, measure_of("recall@10")) for row in rows] == [
        "0.000262",
        "0.000333",
    ]
    means = [row.mean("recall@10") for row in rows]
    assert best_rows(means, 1, rows[0].decimals) == ([1], [0])
    assert best_rows(means, 1) == ([0, 1], [])


def test_datasets_and_variants_have_tables_of_their_own(tmp_path):
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(tmp_path, results={"recall@10": 0.1}, dataset="other", options={"topk": [50]})
    make_run(
        tmp_path,
        seed=2021,
        results={"recall@10": 0.1},
        place="cells/toy-paper/BPR/2021",
        options={"variant": "paper", "threshold": {"rating": 3}},
    )
    found = tables(tmp_path)
    assert [(t.dataset, t.variant) for t in found] == [
        ("other", None),
        ("toy", None),
        ("toy", "paper"),
    ]
    assert len({t.digest for t in found}) == 3


def test_columns_that_only_a_model_reads_are_no_other_protocol(tmp_path):
    """EFM and CER have the features of the reviews loaded."""
    make_run(tmp_path, results={"recall@10": 0.1})
    make_run(
        tmp_path,
        "EFM",
        results={"recall@10": 0.1},
        hashes={**HASHES, "toy.user": "e" * 64},
        options={
            "feature_field": "feature",
            "sentiment_field": "sentiment",
            "eval_step": 0,
            "load_col": {
                "inter": ["user_id", "item_id", "feature", "sentiment"],
                "item": ["item_id", "class"],
            },
        },
    )
    assert len(tables(tmp_path)) == 1


def test_the_order_of_ready_made_parts_is_no_protocol(tmp_path):
    for place, order in (("a", "RO"), ("b", "TO")):
        options = {"eval_args": {"order": order}, "benchmark_filename": ["x", "y", "z"]}
        make_run(tmp_path, results={"recall@10": 0.1}, place=f"cells/{place}", options=options)
    assert tables(tmp_path)[0].protocol["eval_args.order"] == "ready-made"


def test_runs_over_other_candidates_stand_in_no_table(tmp_path):
    for place, content in (("a", "1"), ("b", "2")):
        make_run(
            tmp_path,
            results={"recall@10": 0.1},
            place=f"cells/{place}",
            options={"eval_args": {"mode": "uni9"}, "eval_candidates_file": f"/x/{place}.csv"},
            hashes={**HASHES, "eval_candidates_file": content * 64},
        )
    with pytest.raises(ValueError, match=f"candidates_seed=a file, SHA-256 {'1' * 64} in "):
        tables(tmp_path)
    # Of one content, wherever it lies.
    environment = json.loads((tmp_path / "cells/b/env.json").read_text())
    environment["data_sha256"]["eval_candidates_file"] = "1" * 64
    (tmp_path / "cells/b/env.json").write_text(json.dumps(environment))
    assert len(tables(tmp_path)) == 1


@pytest.mark.parametrize(
    ("options", "split", "candidates"),
    [
        ({}, "the run's seed", "nothing is drawn"),
        (
            {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni100"}},
            "nothing is drawn",
            "the run's seed",
        ),
        ({"benchmark_filename": ["a", "b", "c"]}, "the files are split", "nothing is drawn"),
    ],
)
def test_what_a_seed_decides_is_said(tmp_path, options, split, candidates):
    make_run(tmp_path, results={"recall@10": 0.1}, options=options)
    said = tables(tmp_path)[0].protocol
    assert (said["split_seed"], said["candidates_seed"]) == (split, candidates)
