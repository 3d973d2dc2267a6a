import itertools
import json
import math
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from recbole_enhance.cli import program as cli
from recbole_enhance.evaluation.ties import drawn_order
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.explanation import attribution, coalitions
from recbole_enhance.explanation.coalitions_page import page
from recbole_enhance.shapley import coalition as game
from recbole_enhance.shapley.games import shapley_values
from recbole_enhance.testing.worlds import TOY, run_toy

# The paper's reading, as it was before the item query.
USER = {
    "rvrec_query": "user",
    "rvrec_peo": True,
    "rvrec_coalitions": "learned",
    "rvrec_alpha_start": 0.0,
    "rvrec_scalar_learning_rate": None,
}


def trained(toy, tmp_path_factory, query):
    path = tmp_path_factory.mktemp("runs") / query
    options = USER if query == "user" else {"rvrec_peo": True}
    options = {**options, "epochs": 8, "learning_rate": 0.02, "rvrec_history": 9}
    run_toy(toy, "RVRec", run_dir=str(path), **options)
    return path


@pytest.fixture(scope="module")
def asked_by_user(toy, tmp_path_factory):
    return trained(toy, tmp_path_factory, "user")


@pytest.fixture(scope="module")
def asked_by_item(toy, tmp_path_factory):
    return trained(toy, tmp_path_factory, "item")


@pytest.fixture(scope="module", params=["user", "item"])
def folder(request):
    """A trained run on the toy world whose histories weigh something."""
    return request.getfixturevalue(f"asked_by_{request.param}")


@pytest.fixture(scope="module")
def explained(folder):
    """The lines and the page, which later calls write anew."""
    assert cli.main(["explain", str(folder), "--users=u3,u7,u3", "--k=4", "--quiet"]) == 0
    text = (folder / "coalitions.jsonl").read_text(encoding="utf-8")
    written = (folder / "coalitions.html").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()], written


@pytest.fixture(scope="module")
def lines(explained):
    return explained[0]


def test_base_and_values_are_the_score(folder, lines):
    model = load_run(folder).trainer.model
    assert len(lines) == 8
    for line in lines:
        values = [c["value_additive"] for c in line["coalitions"]]
        assert line["base"]["user_mean"] + sum(values) == pytest.approx(line["score"], abs=1e-5)
        assert line["check"]["gap"] < 1e-5
        assert values == sorted(values, reverse=True)
        user, item = int(line["user"][1:]), line["item"]
        assert f"u{user}" in ("u3", "u7")
        assert item.startswith("i")
    assert abs(model.rvrec.alpha.item()) > 1e-3
    assert [line["rank"] for line in lines] == [1, 2, 3, 4] * 2
    assert max(abs(c["value_additive"]) for line in lines for c in line["coalitions"]) > 1e-4


def test_coalitions_are_a_partition_of_the_used_history(folder, lines):
    run = load_run(folder)
    dataset = run.train_data._dataset
    for line in lines:
        meta = line["meta"]
        places = sorted(t for c in line["coalitions"] for t in c["positions"])
        assert places == list(range(1, meta["hist_used"] + 1))
        assert meta["hist_used"] == min(9, meta["hist_total"])
        user = dataset.token2id("user_id", line["user"])
        order = run.trainer.model.rvrec.histories.last(torch.tensor([user]), 9).item
        by_place = {t: i for c in line["coalitions"] for t, i in zip(c["positions"], c["items"])}
        assert [by_place[t] for t in places] == dataset.id2token("item_id", order).tolist()
        for c in line["coalitions"]:
            assert c["size"] == len(c["items"]) == len(c["gate_p"]) + 1
            assert c["positions"] == list(range(c["positions"][0], c["positions"][-1] + 1))
            assert all(p > 0.5 for p in c["gate_p"])
            assert sum(c["item_values"]) == pytest.approx(c["value_additive"], abs=1e-5)
        assert sum(w for c in line["coalitions"] for w in c["weights"]) == pytest.approx(1)


def test_a_sentence_says_what_users_did_if_it_is_named(folder, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run")
    words = ["explain", str(run), "--users=u3", "--k=4", "--verb=bought", "--quiet"]
    assert cli.main(words) == 0
    lines = (run / "coalitions.jsonl").read_text(encoding="utf-8").splitlines()
    said = [json.loads(line)["explanation"]["text"] for line in lines]
    assert any(text.startswith("Recommended because you bought ") for text in said)
    assert not any("interacted" in text for text in said)


def test_the_best_coalition_is_the_reason(lines):
    for line in lines:
        best, said = line["coalitions"][0], line["explanation"]
        positive = sum(max(c["value_additive"], 0) for c in line["coalitions"])
        if best["value_additive"] > 0:
            assert said["coalition"] == best["id"]
            assert said["share"] == pytest.approx(best["value_additive"] / positive)
            assert said["text"].startswith("Recommended because you interacted with ")
            assert all(title in said["text"] for title in best["titles"])


def test_nothing_recommended_is_already_known(folder, lines):
    run = load_run(folder)
    for part in (run.train_data._dataset, run.valid_data._dataset):
        rows = part.inter_feat
        pairs = set(
            zip(
                part.id2token("user_id", rows["user_id"]), part.id2token("item_id", rows["item_id"])
            )
        )
        assert not pairs & {(line["user"], line["item"]) for line in lines}


def test_shapley_values_of_the_target_game_are_those_of_the_truth(asked_by_user):
    model = load_run(asked_by_user).trainer.model
    tables = attribution.tables_of(model)
    user, target = torch.tensor([5]), torch.tensor([7])
    history = attribution.histories_of(model, tables, user)
    # One coalition of three, so that sizes differ.
    history = history._replace(ids=(torch.arange(9) - 2).clamp(min=0).unsqueeze(0))
    found = attribution.attribute(model, tables, user, history, target)
    n = int(history.lengths[0])
    a = (tables.items[history.item[0, :n]] @ tables.scored[target[0]]).detach().double()
    truth = game.mean_game(a, model.rvrec.prototypes.kappa)
    members = history.ids[0, :n] == 0
    ids = torch.zeros(n, dtype=torch.long)
    ids[~members] = torch.arange(1, n - int(members.sum()) + 1)
    exact = shapley_values(game.quotient_game(truth, ids), int(ids.max()) + 1)[0]
    alpha = model.rvrec.alpha.item()
    assert found.shapley[0].item() == pytest.approx(alpha * exact.item(), abs=1e-6)


def test_removal_is_a_score_with_weights_made_anew(asked_by_user):
    model = load_run(asked_by_user).trainer.model
    tables = attribution.tables_of(model)
    user, target = torch.tensor([5]), torch.tensor([7])
    history = attribution.histories_of(model, tables, user)
    found = attribution.attribute(model, tables, user, history, target)
    score = model.predict({model.USER_ID: user, model.ITEM_ID: target}).item()
    assert found.score == pytest.approx(score, abs=1e-6)
    leaves = history.ids[0] == 0
    w = torch.where(leaves, 0.0, history.weights[0])
    w = w / w.sum()
    mu = model.rvrec.means(model.rvrec.users, tables.users[user])
    P = w @ tables.items[history.item[0]]
    expected = score - ((mu + model.rvrec.alpha * P) @ tables.scored[target[0]]).item()
    assert found.removal[0].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_by_the_item_query_values_removals_and_shapley_values_are_of_the_models_scores(
    asked_by_item, decay
):
    """Against a slow loop over subsets, of runs whose coalitions are put together by hand."""
    model = load_run(asked_by_item).trainer.model
    model.rvrec.decay = decay
    tables = attribution.tables_of(model)
    user, target = torch.tensor([5]), torch.tensor([7])
    history = attribution.histories_of(model, tables, user)
    ids = (torch.arange(9) - 2).clamp(min=0).unsqueeze(0)  # one of three, others alone
    history = history._replace(ids=ids)
    found = attribution.attribute(model, tables, user, history, target)
    n, K = int(history.lengths[0]), int(ids[0, history.lengths[0] - 1]) + 1
    v, i = tables.scored.detach().double(), int(target)
    alpha, beta = model.rvrec.alpha.item(), model.rvrec.beta.item()
    own = float(tables.users[5].detach().double() @ v[i])

    def score(places):  # who stays is as old as before
        players = history.item[0, places].tolist()
        ages = [n - 1 - place for place in places]
        keys = [math.exp(beta * cosine(v[t], v[i]) - decay * a) for t, a in zip(players, ages)]
        total = sum(key * float(v[t] @ v[i]) for key, t in zip(keys, players))
        return own + (alpha * total / sum(keys) if players else 0.0)

    def of(coalitions):
        return [t for t in range(n) if int(ids[0, t]) in coalitions]

    whole = set(range(K))
    assert found.score == pytest.approx(score(of(whole)), abs=1e-6)
    assert found.base == pytest.approx(own, abs=1e-6)
    assert found.base + found.additive.sum().item() == pytest.approx(found.score, abs=1e-6)
    shapley = torch.zeros(K, dtype=torch.float64)
    for k in whole:
        without = score(of(whole - {k}))
        assert found.removal[k].item() == pytest.approx(score(of(whole)) - without, abs=1e-6)
        for size in range(K):
            share = 1 / (K * math.comb(K - 1, size))
            for others in itertools.combinations(whole - {k}, size):
                shapley[k] += share * (score(of({*others, k})) - score(of(others)))
    torch.testing.assert_close(found.shapley.double(), shapley, atol=1e-5, rtol=0)
    predicted = model.predict({model.USER_ID: user, model.ITEM_ID: target}).item()
    assert found.score == pytest.approx(predicted, abs=1e-6)


def cosine(a, b):
    return float(a @ b / (a.norm() * b.norm()))


def test_the_rule_groups_what_is_explained_and_moves_no_score(asked_by_item):
    model = load_run(asked_by_item).trainer.model
    users = torch.arange(1, 40)
    scores = model.full_sort_predict({model.USER_ID: users})
    history = attribution.histories_of(model, attribution.tables_of(model), users)
    assert (history.ids.amax(1) < history.lengths - 1).any()  # somewhere neighbours are joined
    model.rvrec.by_rule = False
    assert torch.equal(model.full_sort_predict({model.USER_ID: users}), scores)


def test_a_head_of_its_own_is_explained_by_the_game_of_coalitions(asked_by_user):
    """As of ProtoMF: a score that is no sum over the history."""
    model = load_run(asked_by_user).trainer.model
    plain = attribution.tables_of(model)

    class Cosines(type(model.adapter)):
        def head(self, model, users, items):
            return torch.nn.functional.normalize(users), torch.nn.functional.normalize(items)

    model.adapter = Cosines()
    model._scoring = None
    tables = attribution.tables_of(model)
    assert plain.linear
    assert not tables.linear
    for user in (5, 6):
        users, target = torch.tensor([user]), torch.tensor([7])
        history = attribution.histories_of(model, tables, users)
        found = attribution.attribute(model, tables, users, history, target)
        score = model.predict({model.USER_ID: users, model.ITEM_ID: target}).item()
        assert found.base + found.additive.sum().item() == pytest.approx(score, abs=1e-6)
        assert found.items.sum().item() == pytest.approx(found.additive.sum().item(), abs=1e-6)
        assert found.shapley is None


def test_without_a_supporting_history_it_says_so(toy, tmp_path):
    result = run_toy(
        toy, "RVRec", epochs=1, learning_rate=1e-6, run_dir=str(tmp_path / "run"), **USER
    )
    assert cli.main(["explain", result["run_dir"], "--rows=2", "--k=1", "--quiet"]) == 0
    text = (tmp_path / "run" / "coalitions.jsonl").read_text()
    for line in map(json.loads, text.splitlines()):
        assert line["explanation"]["coalition"] is None
        assert line["explanation"]["text"] == coalitions.NO_REASON
    assert coalitions._sentence([], 1.0, "bought")["text"] == coalitions.NO_REASON
    negative = [{"value_additive": -0.1, "id": 0, "titles": ["x"]}]
    assert coalitions._sentence(negative, 1.0, "bought")["coalition"] is None


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_shows_each_reason_and_loads_nothing(explained):
    lines, written = explained
    reader = Reader()
    reader.feed(written)
    said = " ".join(reader.text)
    for line in lines:
        assert line["explanation"]["text"] in said
    assert not any("src" in attrs for _, attrs in reader.tags)
    assert {attrs["href"] for _, attrs in reader.tags if "href" in attrs} == {"data:,"}
    assert len(written) < 300_000


def test_names_cannot_write_html(lines):
    evil = "<script>alert(1)</script>"
    line = json.loads(json.dumps(lines[0]))
    line.update(user=evil, title=evil)
    line["explanation"]["text"] = evil
    for c in line["coalitions"]:
        c["titles"] = [evil] * c["size"]
    text = page(evil, evil, [line])
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;") >= 5


def test_titles_come_from_the_item_file(folder, capsys):
    assert cli.main(["explain", str(folder), "--users=u3", "--k=1", "--title=genres"]) == 0
    shown = capsys.readouterr().out
    assert "user u3, 1. g" in shown
    assert "coalitions.html" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--users=nobody"], "users=nobody: no such user in toy"),
        (["--k=0"], "k=0: a whole number above 0 is expected"),
        (["--topk=3"], "--topk: unknown option"),
        (["--title=director"], "title=director: toy.item has the columns item_id, genres"),
    ],
)
def test_bad_options_are_told(folder, capsys, words, message):
    assert cli.main(["explain", str(folder), *words]) == 2
    assert message in capsys.readouterr().err


def test_runs_without_explanations_are_told(toy, tmp_path, capsys):
    bare = run_toy(toy, "Pop", epochs=1, run_dir=str(tmp_path / "pop"))["run_dir"]
    assert cli.main(["explain", bare]) == 2
    assert "there is nothing to explain its lists by" in capsys.readouterr().err
    peo = run_toy(toy, "RVRec", epochs=1, rvrec_msvr=False, run_dir=str(tmp_path / "peo"))
    assert cli.main(["explain", peo["run_dir"]]) == 2
    assert "rvrec_msvr=False: a run without prototypes" in capsys.readouterr().err


@pytest.mark.parametrize("propagated", [False, True])
def test_over_a_graph_model_base_and_values_are_the_score(toy, tmp_path, propagated):
    options = {"backbone": "LightGCN", "epochs": 2, "rvrec_propagated": propagated}
    run_dir = run_toy(toy, "RVRec", **options, run_dir=str(tmp_path / "run"))["run_dir"]
    assert cli.main(["explain", run_dir, "--rows=3", "--k=4", "--quiet"]) == 0
    run = load_run(run_dir)
    model, token2id = run.trainer.model.eval(), run.train_data._dataset.token2id
    for line in map(json.loads, Path(run_dir, "coalitions.jsonl").read_text().splitlines()):
        pair = {"user_id": line["user"], "item_id": line["item"]}
        ids = {field: torch.tensor([token2id(field, token)]) for field, token in pair.items()}
        score = model.predict(ids).item()
        values = sum(c["value_additive"] for c in line["coalitions"])
        assert line["base"]["user_mean"] + values == pytest.approx(score, abs=1e-5)
        assert abs(values) > 1e-6


def test_a_run_without_peo_has_no_uncertainty_but_reasons(toy, tmp_path):
    run_recbole_enhance(
        config_dict={
            **TOY,
            "data_path": str(toy),
            "model": "RVRec",
            "backbone": "LightGCN",
            **USER,
            "rvrec_peo": False,
            "epochs": 2,
            "run_dir": str(tmp_path / "run"),
            "learning_rate": 0.02,
            "show_progress": False,
        },
    )
    assert cli.main(["explain", str(tmp_path / "run"), "--rows=1", "--k=2", "--quiet"]) == 0
    text = (tmp_path / "run" / "coalitions.jsonl").read_text()
    for line in map(json.loads, text.splitlines()):
        assert line["uncertainty"] is None
        assert line["check"]["gap"] < 1e-5


def test_equal_scores_stand_as_in_evaluation(asked_by_item, monkeypatch):
    run = load_run(asked_by_item)
    dataset = run.test_data._dataset
    zeros = torch.zeros(1, dataset.item_num)
    zeros[:, 0] = -torch.inf
    monkeypatch.setattr(coalitions.KnownUsers, "scores", lambda people, ids: zeros)
    lines = coalitions.explanations(run, ["u3"], 1, 4)
    order = drawn_order(dataset.item_num, run.config["seed"]).argsort()
    listed = dataset.id2token(dataset.iid_field, order[order > 0][:4].numpy())
    assert [line["item"] for line in lines] == listed.tolist()
