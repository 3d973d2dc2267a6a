"""Which histories lists are ranked by: those of training, or all that is known by then."""

import numpy as np
import pandas as pd
import pytest
import torch

from recbole_enhance.cli.program import main
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.explanation.coalitions import explanations
from recbole_enhance.recommendation.histories import Sequences
from recbole_enhance.recommendation.new_users import NewUsers
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.recommendation.scoring import KnownUsers
from recbole_enhance.testing.worlds import run_toy, toy_options

BY_TIME = {"eval_args": {"order": "TO"}, "rvrec_alpha_start": 3.0}
USER_QUERY = {"rvrec_query": "user", "rvrec_coalitions": "learned"}
TIMELESS = {"load_col": {"inter": ["user_id", "item_id"]}, "rvrec_alpha_start": 3.0}


def built(toy, known=True, model="RVRec", **options):
    return assemble(Config(config_dict=toy_options(toy, model, read_known=known, **options)))


def items_in_order(run, parts, user):
    """Items of a user in some parts of the data, oldest first, by a loop over the rows."""
    rows = []
    for number, part in enumerate(parts):
        columns = part.inter_feat.interaction
        time = columns.get(part.time_field, columns.get("file_order"))
        for place, owner in enumerate(columns[part.uid_field].tolist()):
            if owner == user:
                rows.append((float(time[place]), number, place, int(columns["item_id"][place])))
    return [row[-1] for row in sorted(rows)]


def read_in(run, loader):
    """Histories that the model reads while a loader's lists are ranked: user -> items."""
    model, seen = run.trainer.model, {}
    score = model.full_sort_predict

    def watched(interaction):
        for user in interaction[model.USER_ID].tolist():
            seen[user] = model.rvrec.read.last(torch.tensor([user]), 999).item.tolist()
        return score(interaction)

    model.full_sort_predict = watched
    run.trainer.evaluate(loader, load_best_model=False)
    del model.full_sort_predict
    return seen


@pytest.mark.parametrize("options", [BY_TIME, TIMELESS], ids=["by time", "in the file's order"])
@pytest.mark.parametrize(("known", "in_test"), [(False, 1), (True, 2)])
def test_the_test_reads_what_is_known_then_and_no_more(toy, options, known, in_test):
    run = built(toy, known, **options)
    parts = [loader._dataset for loader in (run.train_data, run.valid_data, run.test_data)]
    for loader, by_then in ((run.valid_data, parts[:1]), (run.test_data, parts[:in_test])):
        seen = read_in(run, loader)
        assert len(seen) > 20
        for user, items in seen.items():
            assert items == items_in_order(run, by_then, user)
    assert run.trainer.model.rvrec.read is run.trainer.model.rvrec.histories


@pytest.mark.parametrize("query", [{}, {"rvrec_candidates": 5}, USER_QUERY])
def test_only_numbers_of_the_test_move(toy, tmp_path, query):
    results = [
        run_toy(
            toy,
            "RVRec",
            **{"epochs": 2, "read_known": known, **BY_TIME, **query},
            run_dir=str(tmp_path / str(known)),
        )
        for known in (False, True)
    ]
    assert results[0]["best_valid_result"] == results[1]["best_valid_result"]
    assert results[0]["test_result"] != results[1]["test_result"]


@pytest.mark.parametrize("query", [{}, USER_QUERY])
def test_afterwards_the_model_reads_what_it_read_before(toy, query):
    run = built(toy, **BY_TIME, **query)
    model, users = run.trainer.model.eval(), torch.arange(1, 30)

    def scores():
        return model.full_sort_predict({model.USER_ID: users}).clone()

    before = scores()
    known = model.histories_known(run.test_data.known)
    with model.reading(known):
        during = scores()
    assert not torch.equal(before, during)
    assert torch.equal(before, scores())
    with pytest.raises(ZeroDivisionError), model.reading(known):
        raise ZeroDivisionError
    assert torch.equal(before, scores())


def test_lists_for_users_read_what_history_says(toy):
    run = built(toy, **BY_TIME)
    model, users = run.trainer.model.eval(), torch.arange(1, 30)
    parts = [loader._dataset for loader in (run.train_data, run.valid_data, run.test_data)]
    found = []
    for many, history in enumerate(("train", "train+valid", "all"), 1):
        people = KnownUsers(run, history, filter_seen=False)
        with people.reading():
            for user in (1, 7, 29):
                own = model.rvrec.read.last(torch.tensor([user]), 999).item.tolist()
                assert own == items_in_order(run, parts[:many], user)
        found.append(people.scores(users))
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[1], found[2])
    plain = KnownUsers(built(toy, False, **BY_TIME), "all", filter_seen=False)
    assert torch.equal(plain.scores(users), found[0])


@pytest.mark.parametrize("known", [False, True])
def test_recommend_ranks_for_users_by_all_of_their_items(toy, tmp_path, known):
    run_dir = str(tmp_path / "run")
    run_toy(toy, "RVRec", epochs=1, read_known=known, run_dir=run_dir, **BY_TIME)

    def lists(history, read=None):
        return recommend(run_dir, k=5, history=history, read_known=read, filter_seen=False)

    assert lists("train").equals(lists("all")) != known
    assert not lists("train", True).equals(lists("all", True))
    assert lists("train").equals(lists("all", False))
    words = ["recommend", run_dir, "--all", "--k=5", "--filter-seen=false", "--quiet"]
    for word, read in (("true", True), ("false", False)):
        out = tmp_path / f"{word}.csv"
        assert main([*words, f"--read-known={word}", f"--out={out}"]) == 0
        own = pd.read_csv(out, dtype={"user_id": str, "item_id": str})
        assert own["item_id"].tolist() == lists("all", read)["item_id"].tolist()


def test_new_users_keep_their_own_histories(toy):
    items = torch.tensor([3, 4, 5, 6])
    own = Sequences(torch.tensor([0, 0, 1, 1]), {"item_id": items}, 2)
    runs = [built(toy, known, **BY_TIME) for known in (False, True)]
    scores = [NewUsers(run, np.array(["a", "b"]), own).scores(torch.arange(2)) for run in runs]
    assert torch.equal(*scores)


@pytest.mark.parametrize("query", [{}, USER_QUERY])
def test_explanations_are_of_the_histories_that_ranked(toy, query):
    run = built(toy, **BY_TIME, **query)
    parts = [loader._dataset for loader in (run.train_data, run.valid_data)]
    dataset = run.test_data._dataset
    lines = explanations(run, [], 3, 4)
    for line in lines:
        user = dataset.token2id(dataset.uid_field, line["user"])
        assert line["meta"]["hist_total"] == len(items_in_order(run, parts, user))
        scores = KnownUsers(run, "train+valid").scores(torch.tensor([user]))
        item = dataset.token2id(dataset.iid_field, line["item"])
        assert line["score"] == pytest.approx(float(scores[0, item]), rel=1e-5)
    assert run.trainer.model.rvrec.read is run.trainer.model.rvrec.histories


def test_without_histories_there_is_nothing_to_read(toy, tmp_path, caplog):
    bare = {"rvrec_msvr": False, "rvrec_peo": True, "epochs": 1, **BY_TIME}
    results = [
        run_toy(toy, "RVRec", read_known=known, run_dir=str(tmp_path / str(known)), **bare)
        for known in (False, True)
    ]
    assert results[0]["test_result"] == results[1]["test_result"]
    assert "read_known: RVRec-BPR computes no score from a history" in caplog.text
