import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import softplus

from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.model.history import lent
from recbole_enhance.options.errors import DataError, InputError
from recbole_enhance.recommendation import new_users
from recbole_enhance.recommendation.fold_in import _PENALTY, fold_in
from recbole_enhance.recommendation.recommend import recommend
from recbole_enhance.testing.worlds import run_toy, toy_options

NO_SIZE = ("SASRec", "BERT4Rec", "EASE", "ItemKNN", "SLIMElastic", "MultiVAE", "RecVAE", "Pop")
USERS = ["u0", "u3", "u11", "u59"]


def run_of(toy, model, **options):
    more = {"epochs": 2, "quiet": True, "run_dir": f"run-{model}", **options}
    options = toy_options(toy, model, show_progress=False, **more)
    if model in NO_SIZE:
        del options["embedding_size"]
    return load_run(run_recbole_enhance(config_dict=options)["run_dir"])


def histories_of(run, parts=("train", "valid", "test")):
    """Items of each user in the order of time, from the file for all, else from the parts."""
    rows = [getattr(run, f"{part}_data")._dataset.inter_feat for part in parts]
    table = pd.DataFrame(
        {
            name: np.concatenate([part[name].numpy() for part in rows])
            for name in ("user_id", "item_id", "timestamp")
        }
    ).sort_values("timestamp", kind="stable")
    dataset = run.test_data._dataset
    for name in ("user_id", "item_id"):
        table[name] = dataset.id2token(name, table[name].to_numpy())
    return table


def assert_same_lists(new, known):
    assert new["user_id"].tolist() == [f"new {user}" for user in known["user_id"]]
    assert np.allclose(new["score"], known["score"], rtol=1e-4, atol=1e-5)
    assert (new["item_id"].to_numpy() == known["item_id"].to_numpy()).mean() > 0.98
    assert new["rank"].tolist() == known["rank"].tolist()


@pytest.mark.parametrize("model", ["SASRec", "GRU4Rec", "BERT4Rec", "DIN"])
def test_a_sequential_model_gives_the_list_of_a_known_user_of_the_same_history(toy, model):
    options = {"MAX_ITEM_LIST_LENGTH": 6, "epochs": 1}
    if model == "DIN":
        split = {"split": {"LS": "valid_and_test"}, "mode": "full"}
        options.update(threshold={"rating": 1}, eval_args=split)
    if model in ("SASRec", "BERT4Rec"):
        options.update(hidden_size=16, inner_size=16)
    run = run_of(toy, model, **options)
    with open(toy / "toy" / "toy.inter") as file:
        next(file)
        rows = [line.split("\t")[:4] for line in map(str.rstrip, file)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    table = table[table["user_id"].isin(USERS)].sample(frac=1, random_state=0)
    given = table.assign(user_id="new " + table["user_id"])
    # The users in the order of their names; their rows in none: the times say it.
    new = recommend(run, histories=given).sort_values(["user_id", "rank"])
    known = recommend(run, USERS).sort_values(["user_id", "rank"])
    assert set(new["how"]) == {"exact"}
    assert_same_lists(new, known)
    in_order = given.sort_values("timestamp", key=lambda t: t.astype(float))
    untimed = {user: rows["item_id"].tolist() for user, rows in in_order.groupby("user_id")}
    again = recommend(run, histories=untimed).sort_values(["user_id", "rank"])
    assert again["item_id"].tolist() == new["item_id"].tolist()


@pytest.mark.parametrize(
    "model", ["EASE", "ItemKNN", "SLIMElastic", "MultiVAE", "MacridVAE", "RecVAE", "NAIS", "Pop"]
)
def test_what_reads_a_history_gives_the_list_of_a_known_user_of_the_same(toy, model):
    run = run_of(toy, model)
    table = histories_of(run, ("train",))
    table = table[table["user_id"].isin(USERS)]
    given = table.assign(user_id="new " + table["user_id"]).sort_values("user_id")
    torch.manual_seed(0)
    new = recommend(run, histories=given).sort_values(["user_id", "rank"])
    torch.manual_seed(0)
    known = recommend(run, sorted(USERS), history="train").sort_values(["user_id", "rank"])
    assert set(new["how"]) == {"exact"}
    if model != "RecVAE":  # draws
        assert_same_lists(new, known)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("FPMC", "FPMC cannot recommend to new users: its score depends on what training"),
        (
            "NeuMF",
            "NeuMF cannot recommend to new users: its score is neither computed from a history",
        ),
        ("CDAE", "CDAE cannot recommend to new users"),
        ("FISM", "FISM cannot recommend to new users"),
    ],
)
def test_the_others_are_refused_by_name(toy, model, reason):
    run = run_of(toy, model, epochs=1)
    with pytest.raises(InputError, match=reason):
        recommend(run, histories={"x": ["i1"]})


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "NGCF", "DVR"])
def test_a_product_is_folded_in_and_finds_the_genre(toy, model):
    options = {"backbone": "BPR"} if model == "DVR" else {}
    run = run_of(toy, model, epochs=40, stopping_step=40, learning_rate=0.01, **options)
    # Items 1, 5, 9, ... are of one genre, which is what users like.
    given = {"x": ["i1", "i5", "i9", "i13"], "y": ["i2", "i6", "i10", "i14"]}
    lists = recommend(run, histories=given, k=5)
    assert set(lists["how"]) == {"fold-in"}
    genre = lists["item_id"].str[1:].astype(int) % 4
    share = (genre == lists["user_id"].map({"x": 1, "y": 2})).groupby(lists["user_id"]).mean()
    assert (share >= 0.6).all(), lists
    assert not set(lists[lists["user_id"] == "x"]["item_id"]) & set(given["x"])
    alone = recommend(run, histories={"y": given["y"]}, k=5)
    both = lists[lists["user_id"] == "y"]
    assert alone["item_id"].tolist() == both["item_id"].tolist()


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
def test_rvrec_reads_the_history_and_fits_the_rest(toy, monkeypatch, backbone):
    run = run_of(toy, "RVRec", backbone=backbone, rvrec_alpha_start=0.7)
    model, dataset = run.trainer.model.eval(), run.test_data._dataset
    table = histories_of(run, ("train",))
    table = table[table["user_id"].isin(USERS)]
    given = table.assign(user_id="new " + table["user_id"])
    lists = recommend(run, histories=given, k=5)
    assert set(lists["how"]) == {"fold-in"}
    # With the vectors of the known users themselves in place of fitted ones: their very scores.
    names = list(dict.fromkeys(table["user_id"]))
    ids = [dataset.field2token_id["user_id"][name] for name in names]
    monkeypatch.setattr(
        new_users, "fold_in", lambda *_: model.scoring_tables()[0][torch.tensor(ids)]
    )
    new = recommend(run, histories=given)
    known = recommend(run, names, history="train")
    assert_same_lists(new, known)
    assert model.rvrec.histories.counts.shape[0] == dataset.user_num  # given back


def expected_loss(user, items, owned):
    user = torch.from_numpy(user).float()
    scores = items @ user
    between = softplus(scores[1:].unsqueeze(0) - scores[owned].unsqueeze(1))
    return float(between.mean() + _PENALTY * user.square().sum())


def test_fold_in_comes_close_to_the_minimum_of_the_loss_over_all_items(generator):
    items = torch.randn(60, 6, generator=generator)
    items = items / items[1:].norm(dim=1).mean()
    rows, owned = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([3, 8, 9, 20, 21])
    found = fold_in(items, rows, owned, 2)
    for user in range(2):
        own = owned[rows == user]
        best = minimize(
            expected_loss,
            np.zeros(6),
            args=(items, own),
            method="Nelder-Mead",
            options={"maxiter": 6000, "fatol": 1e-7},
        ).fun
        start = expected_loss(np.zeros(6), items, own)
        assert expected_loss(found[user].numpy(), items, own) < best + 0.05 * (start - best)


def test_fold_in_knows_no_neighbours_no_scale_and_leaves_nobody_at_zero(generator):
    items = torch.randn(40, 5, generator=generator)
    rows, owned = torch.tensor([0, 0, 2]), torch.tensor([1, 2, 7])
    found = fold_in(items, rows, owned, 3)
    alone = fold_in(items, torch.tensor([0]), torch.tensor([7]), 1)
    assert torch.allclose(found[2], alone[0], atol=1e-5)
    assert torch.equal(found[1], torch.zeros(5))
    longer = fold_in(100 * items, rows, owned, 3)
    assert torch.allclose(100 * longer, found, atol=1e-4)
    assert not torch.allclose(fold_in(items, rows, owned, 3, seed=1), found)


def test_attributes_that_are_lent_come_back():
    class Thing:
        kind = "class"

        def __init__(self):
            self.a = 1

    thing = Thing()

    def use():
        with lent(thing, {"a": 2, "kind": "own"}):
            assert (thing.a, thing.kind) == (2, "own")
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert (thing.a, thing.kind, vars(thing)) == (1, "class", {"a": 1})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("h.csv", "", "h.csv: holds no history"),
        ("h.csv", "user_id,item_id\n", "h.csv: holds no history"),
        (
            "h.csv",
            "user,item_id\na,i1\n",
            "h.csv:1: one column user_id is expected, not user, item_id",
        ),
        ("h.csv", "user_id,item_id\na,i1\na,zz\n", "h.csv:3: item_id='zz': no such item in toy"),
        ("h.csv", "user_id,item_id\na,\n", "h.csv:2: column item_id: is empty"),
        ("h.csv", "user_id,item_id,timestamp\na,i1,soon\n", "h.csv:2: timestamp='soon': a number"),
        ("h.csv", "user_id,item_id\na,i1\nb,i1,7\n", "h.csv:3: 3 cells, and the header has 2"),
        ("h.csv", "user_id,item_id,item_id\na,i1,i2\n", "h.csv:1: one column item_id is expected"),
        ("h.jsonl", '["i1"]\n{"a": 1}\n', "h.jsonl:2: a JSON list of items is expected"),
        ("h.jsonl", "[]\n", "h.jsonl:1: a JSON list of items is expected"),
        ("h.jsonl", "\n", "h.jsonl: holds no history"),
        ("h.jsonl", '["i1"]\n["i0", "zz"]\n', "h.jsonl:2: item_id='zz': no such item in toy"),
    ],
)
def test_a_bad_file_of_histories_is_refused_with_its_line(run_bpr, tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        recommend(run_bpr, histories=tmp_path / name)
    assert str(error.value).replace(f"{tmp_path}/", "").startswith(message)


@pytest.fixture(scope="module")
def run_bpr(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "bpr"
    return load_run(run_toy(toy, "BPR", epochs=1, quiet=True, run_dir=str(folder))["run_dir"])


def test_json_lines_are_users_by_number(run_bpr, tmp_path):
    (tmp_path / "h.jsonl").write_text('["i1", "i5"]\n\n["i2"]\n')
    lists = recommend(run_bpr, histories=tmp_path / "h.jsonl", k=2)
    assert lists["user_id"].tolist() == ["1", "1", "3", "3"]
    same = recommend(run_bpr, histories={"1": ["i1", "i5"], "3": ["i2"]}, k=2)
    assert lists.equals(same)


def test_a_new_user_may_be_called_as_a_known_one_and_is_another(run_bpr):
    lists = recommend(run_bpr, histories={"u0": ["i1"]}, k=47)
    assert "i1" not in set(lists["item_id"])
    assert len(lists) == 47  # all of 48 but the one that is in his new history


def test_histories_that_hold_an_item_twice_have_it_once_in_the_mask(run_bpr):
    once = recommend(run_bpr, histories={"x": ["i1"]})
    twice = recommend(run_bpr, histories={"x": ["i1", "i1"]})
    assert once["item_id"].tolist() == twice["item_id"].tolist()
