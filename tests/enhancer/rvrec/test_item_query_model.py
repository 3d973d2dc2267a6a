"""The item query over backbones: where it starts, what it may see, that it stops and goes on."""

import csv
import math
from pathlib import Path

import pytest
import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.utils import init_seed

from recbole_enhance.enhancer.rvrec import item_query, network
from recbole_enhance.enhancer.rvrec.histories import Histories
from recbole_enhance.enhancer.rvrec.method import RVRec
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import OptionError
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options

GRAPHS = ("LightGCN", "NGCF", "DGCF", "SGL")
OURS = ("ProtoMF", "TransGNN", "MultiGCCF")
TAKEN = ("BPR", *GRAPHS, *OURS)
OPTIONS = {"DGCF": {"n_factors": 2}, "NGCF": {"message_dropout": 0.0, "node_dropout": 0.0}}


def built(toy, backbone="BPR", plain=False, **options):
    """Trainer and training loader: a plain backbone, or the item query over it."""
    options = {**OPTIONS.get(backbone, {}), "show_progress": False, **options}
    given = {} if plain else {"backbone": backbone}
    return_ = assemble(toy_options(toy, backbone if plain else "RVRec", **given, **options))
    return return_[0], return_[1][0]


def noise(folder):
    """Items at random, 10 of 80 for each of 60 users: nothing can be learnt."""
    generator = torch.Generator().manual_seed(0)
    (folder / "noise").mkdir()
    draws = torch.rand(60, 80, generator=generator).argsort(1)[:, :10]
    lines = [f"u{u}\ti{i}\t{n}" for u, row in enumerate(draws.tolist()) for n, i in enumerate(row)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "noise" / "noise.inter").write_text("\n".join([header, *lines]) + "\n")
    return {"dataset": "noise", "data_path": str(folder), "show_progress": False}


def everybody(model):
    return {model.USER_ID: torch.arange(1, model.n_users)}


@pytest.mark.parametrize("backbone", TAKEN)
def test_from_alpha_0_it_starts_as_the_backbone_to_the_last_bit(toy, backbone):
    losses, scores, tables = [], [], []
    for plain in (False, True):
        options = {} if plain else {"rvrec_alpha_start": 0.0}
        trainer, data = built(toy, backbone, plain=plain, **options)
        model = trainer.model
        batch = next(iter(data))
        init_seed(3, True)
        model.train()
        loss = model.calculate_loss(batch)
        loss = loss if isinstance(loss, tuple) else (loss,)
        sum(loss).backward()
        losses.append([part.item() for part in loss])
        own = {n: p for n, p in model.named_parameters() if not n.startswith("rvrec.")}
        tables.append({n: p.grad.clone() for n, p in own.items() if p.grad is not None})
        model.eval()
        with torch.no_grad():
            scores.append(model.full_sort_predict(everybody(model)).view(-1))
    assert losses[0] == losses[1]
    assert torch.equal(*scores)
    assert tables[0].keys() == tables[1].keys()
    for name, grad in tables[1].items():
        assert torch.equal(tables[0][name], grad), name


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("backbone", TAKEN)
def test_histories_add_to_the_scores_that_the_backbones_loss_sees(toy, backbone, decay):
    trainer, data = built(toy, backbone, rvrec_decay=decay)
    model = trainer.model
    for epoch in range(2):
        trainer._train_epoch(data, epoch)
    assert model.rvrec.alpha.item() != 3.0
    assert model.rvrec.beta.item() != 3.0
    assert not {"forward", "calc_bpr_loss"} & set(vars(model))
    assert not any(module._forward_pre_hooks for module in model.modules())
    model.eval()
    users = torch.arange(1, 30)
    scores = model.full_sort_predict({model.USER_ID: users}).view(len(users), -1)
    items = torch.arange(1, 30).flip(0)
    pairs = model.predict({model.USER_ID: users, model.ITEM_ID: items})
    torch.testing.assert_close(pairs, scores[torch.arange(29), items], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("propagated", [False, True])
def test_a_graph_models_query_is_of_rows_before_or_after_propagation(toy, propagated):
    model = built(toy, "LightGCN", rvrec_propagated=propagated)[0].model.eval()
    with torch.no_grad():
        U, V = model.forward()
        rows = V if propagated else model.item_embedding.weight
        user, target = 5, 7
        own = rows[model.rvrec.histories.last(torch.tensor([user]), 50).item]
        cosine = own @ rows[target] / (own.norm(dim=1) * rows[target].norm())
        expected = U[user] @ V[target] + 3 * (3 * cosine).softmax(0) @ (own @ rows[target])
        pair = {model.USER_ID: torch.tensor([user]), model.ITEM_ID: torch.tensor([target])}
        torch.testing.assert_close(model.predict(pair)[0], expected)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_rows_own_positive_moves_no_weight_and_adds_nothing_of_itself(toy, decay):
    """Beside itself an item would be the best of reasons: its cosine is 1."""
    trainer, data = built(toy, rvrec_decay=decay)
    model, batch = trainer.model, next(iter(data))
    batch = type(batch)({k: v[:1] for k, v in batch.interaction.items()})
    user, positive = int(batch[model.USER_ID]), int(batch[model.ITEM_ID])
    own = model.rvrec.histories.last(torch.tensor([user]), 99).item.tolist()
    assert positive in own
    kept = [item for item in own if item != positive][-20:]
    with torch.no_grad():
        model.user_embedding.weight.zero_()
    model.calculate_loss(batch).backward()
    V = model.item_embedding.weight.detach().double()
    alpha, beta = 3.0, 3.0
    ages = torch.tensor([abs(own.index(item) - own.index(positive)) for item in kept])

    def added(target):
        rows = V[kept]
        cosine = rows @ V[target] / (rows.norm(dim=1) * V[target].norm())
        return alpha * float((beta * cosine - decay * ages).softmax(0) @ (rows @ V[target]))

    gap = added(positive) - added(int(batch[model.NEG_ITEM_ID]))
    loss = model.calculate_loss(batch).item()
    assert loss == pytest.approx(-math.log(1e-10 + 1 / (1 + math.exp(-gap))), rel=1e-5)


def test_a_planted_label_is_not_learnt_from_the_positive_itself(tmp_path):
    """Whoever sees the positive in its own history ranks it first in training."""
    options = {
        **noise(tmp_path),
        "model": "RVRec",
        "embedding_size": 64,
        "train_batch_size": 64,
        "rvrec_beta_start": 30.0,
    }
    trainer, (data, *_) = assemble(options)
    model = trainer.model
    with torch.no_grad():  # as far from each other as may be: only an item itself is near an item
        model.user_embedding.weight.zero_()
    losses = [model.calculate_loss(batch).item() for batch in data]
    assert sum(losses) / len(losses) == pytest.approx(math.log(2), abs=0.01)
    real = type(model.rvrec.histories).last_without
    model.rvrec.histories.last_without = lambda users, longest, _: real(
        model.rvrec.histories, users, longest
    )
    with torch.no_grad():
        model.item_embedding.weight.mul_(20)
    leaking = [model.calculate_loss(batch).item() for batch in data]
    del model.rvrec.histories.last_without
    honest = [model.calculate_loss(batch).item() for batch in data]
    assert sum(leaking) < 0.5 * sum(honest)


@pytest.mark.parametrize("backbone", [*GRAPHS, "TransGNN", "MultiGCCF"])
def test_propagated_rows_know_the_positive_and_others_do_not(tmp_path, backbone):
    """After propagation, the positive and the history are near their common user."""
    options = {"model": "RVRec", "backbone": backbone, **OPTIONS.get(backbone, {})}
    trainer, (data, *_) = assemble({**noise(tmp_path), **options, "train_batch_size": 4096})
    model, (batch,) = trainer.model.eval(), data
    users, positive = batch[model.USER_ID], batch[model.ITEM_ID]
    history = model.rvrec.histories.last_without(users, model.rvrec.longest, positive)
    pair = torch.stack([positive, batch[model.NEG_ITEM_ID]])
    won = []
    for model.propagated in (False, True):
        with torch.no_grad():
            rows = model.history_items(model.scoring_tables()[1])
            scores = item_query.history_scores(*history, pair, rows, torch.tensor(3.0))
        won.append((scores[0] > scores[1]).double().mean().item())
    assert won[0] == pytest.approx(0.5, abs=0.06)
    assert won[1] > 0.6


# ---- inference ---------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
def test_two_stages_are_the_exact_ranking_where_all_are_candidates(toy, backbone, decay):
    trainer, data = built(toy, backbone, rvrec_decay=decay)
    model = trainer.model
    for epoch in range(3):
        trainer._train_epoch(data, epoch)
    model.eval()
    users = everybody(model)
    exact = model.full_sort_predict(users).view(-1, model.n_items)[:, 1:]
    model.candidates = model.n_items
    known = model.rvrec.histories.last(users[model.USER_ID], model.n_items)
    staged = model.full_sort_predict(users).view(-1, model.n_items)[:, 1:]
    for part in (exact, staged):
        part[known.row, known.item - 1] = float("-inf")
    torch.testing.assert_close(staged, exact, rtol=1e-4, atol=1e-5)
    model.candidates = 10
    few = model.full_sort_predict(users).view(-1, model.n_items)[:, 1:]
    few[known.row, known.item - 1] = float("-inf")
    first = few.topk(5).values
    found = few.topk(5).indices
    torch.testing.assert_close(first, exact.gather(1, found), rtol=1e-4, atol=1e-5)
    assert torch.isfinite(few.topk(20).values).all()


def test_history_csv_watches_alpha_and_beta(toy):
    result = run_toy(toy, "RVRec", epochs=2)
    with open(Path(result["run_dir"], "history.csv")) as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["rvrec_alpha"]) != float(rows[0]["rvrec_alpha"])
    assert float(rows[-1]["rvrec_beta"]) != float(rows[0]["rvrec_beta"])


# ---- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
@pytest.mark.parametrize(
    "options",
    [
        {"rvrec_peo": True},
        {"rvrec_peo": True, "rvrec_mean_head": True},
        {"rvrec_weights": "uniform"},
        {"rvrec_coalitions": "random"},
        {"rvrec_history": 1},
        {"rvrec_history": 500},
        {"rvrec_scalar_learning_rate": None},
        {"rvrec_candidates": 5},
        {"rvrec_decay": 0.1},
        {"rvrec_decay": 0.1, "rvrec_weights": "uniform"},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()),
)
def test_every_choice_trains(toy, backbone, options):
    trainer, data = built(toy, backbone, **options)
    network = trainer.model.rvrec
    before = {k: v.clone() for k, v in network.state_dict().items()}
    for epoch in range(2):
        trainer._train_epoch(data, epoch)
    unmoved = {k for k, v in network.state_dict().items() if torch.equal(v, before[k])}
    fixed = options.get("rvrec_weights") == "uniform" or options.get("rvrec_history") == 1
    assert unmoved == ({"beta"} if fixed else set())
    assert torch.isfinite(trainer.model.full_sort_predict(everybody(trainer.model))).all()


def test_alpha_and_beta_learn_at_their_own_rate(toy):
    def rates(**options):
        trainer, _ = built(toy, learning_rate=0.002, **options)
        named = {id(p): name for name, p in trainer.model.named_parameters()}
        groups = trainer.optimizer.param_groups
        return {named[id(p)]: group["lr"] for group in groups for p in group["params"]}

    own = rates(rvrec_alpha_start=3.0)
    assert own.pop("rvrec.alpha") == own.pop("rvrec.beta") == 0.01
    assert set(own.values()) == {0.002}
    assert set(rates(rvrec_scalar_learning_rate=None).values()) == {0.002}
    by_user = rates(rvrec_query="user", rvrec_coalitions="learned", rvrec_scalar_learning_rate=0.1)
    assert by_user["rvrec.alpha"] == 0.1


def test_where_users_have_many_items_histories_start_at_0_and_learn_slowly(toy, monkeypatch):
    """By default: half of the users have many items, or they have not."""
    for many, alpha, rate in ((1, 0.0, 0.001), (500, 3.0, 0.01)):
        monkeypatch.setattr(network, "_LONG", many)
        trainer, _ = built(toy)
        assert trainer.model.rvrec.alpha.item() == alpha
        assert trainer.optimizer.param_groups[1]["lr"] == pytest.approx(rate)
    monkeypatch.setattr(network, "_LONG", 1)
    trainer, _ = built(toy, rvrec_alpha_start=2)
    assert trainer.model.rvrec.alpha.item() == 2.0
    assert trainer.optimizer.param_groups[1]["lr"] == 0.01


@pytest.mark.parametrize(
    ("lengths", "many", "dense"),
    [((3, 3, 1, 1), 2, True), ((3, 1, 1), 2, False), ((2, 2), 2, False), ((), 2, False)],
)
def test_dense_is_half_of_the_users_beyond_a_number_of_items(lengths, many, dense):
    """A user without items, and the padding, do not count."""
    users = torch.repeat_interleave(torch.arange(1, len(lengths) + 1), torch.tensor(lengths).long())
    histories = Histories(users, torch.arange(len(users)) + 1, None, len(lengths) + 2)
    assert histories.dense(many) == dense


def test_uniform_weights_are_the_plain_mean_of_the_users_query(toy):
    def scores(**options):
        model = built(toy, rvrec_weights="uniform", **options)[0].model.eval()
        return model.full_sort_predict(everybody(model))

    by_user = scores(rvrec_query="user", rvrec_coalitions="random")
    torch.testing.assert_close(scores(), by_user)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rvrec_query": "both"}, "rvrec_query=both: must be one of item, user"),
        ({"rvrec_decay": -0.1}, "rvrec_decay=-0.1: must be at least 0"),
        (
            {"rvrec_decay": 0.1, "rvrec_query": "user", "rvrec_coalitions": "learned"},
            "rvrec_decay=0.1: must be 0 without histories that items ask .rvrec_query=item,",
        ),
        ({"rvrec_decay": 0.1, "rvrec_msvr": False}, "rvrec_decay=0.1: must be 0 without hist"),
        ({"rvrec_candidates": -1}, "rvrec_candidates=-1: must be "),
        ({"rvrec_alpha_start": float("nan")}, "rvrec_alpha_start=nan: a finite number is expected"),
        ({"rvrec_beta_start": float("inf")}, "rvrec_beta_start=inf: a finite number is expected"),
        ({"rvrec_scalar_learning_rate": 0}, "rvrec_scalar_learning_rate=0: must be above 0"),
        ({"rvrec_coalitions": "learned"}, "rvrec_coalitions=learned: must be rule or random with"),
        ({"rvrec_query": "user"}, "rvrec_coalitions=rule: must be learned or random with"),
    ],
)
def test_bad_options_are_refused_in_one_line(toy, options, message):
    with pytest.raises(OptionError, match=message) as told:
        Config(config_dict=toy_options(toy, "RVRec", **options))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("order", ["RO", "TO"])
def test_decay_of_a_random_split_is_told(toy, order):
    lines = [
        RVRec.notes(
            Config(
                config_dict=toy_options(toy, "RVRec", rvrec_decay=decay, eval_args={"order": order})
            )
        )
        for decay in (0.0, 0.5)
    ]
    told = (
        "rvrec_decay=0.5: eval_args.order=RO holds out items of any age, so the newest say no more"
    )
    assert lines[0] == []
    assert [line.startswith(told) for line in lines[1]] == ([True] if order == "RO" else [])


@pytest.mark.parametrize(("order", "decay"), [("RO", 0.0), ("TO", 0.3)])
def test_by_default_old_items_are_forgotten_where_the_split_is_by_time(toy, order, decay):
    def used(**options):
        return built(toy, eval_args={"order": order}, **options)[0].model.rvrec.decay

    assert used() == decay
    assert used(rvrec_decay=0.7) == 0.7
    assert used(rvrec_decay=0) == 0


class Product(BPR):
    """A model of the user's without ``added``."""

    def enhancer_tables(self):
        return self.user_embedding.weight, self.item_embedding.weight

    def enhancer_head(self, U, I):
        return U, I

    def enhancer_loss(self, U_score, I_score, interaction, U=None, I=None):
        raise NotImplementedError


def test_a_backbone_whose_loss_takes_no_added_scores_is_told_so(toy):
    with pytest.raises(OptionError, match=r"rvrec_query=item: enhancer_loss of Product takes no"):
        built(toy, backbone=Product)


def test_without_times_and_without_a_history_it_runs(tmp_path):
    (tmp_path / "small").mkdir()
    rows = [("a", n) for n in range(9)] + [("b", 1), ("b", 2), ("b", 3), ("c", 4)]
    text = "user_id:token\titem_id:token\n" + "".join(f"{u}\ti{i}\n" for u, i in rows)
    (tmp_path / "small" / "small.inter").write_text(text)
    trainer, (train_data, *_) = assemble(
        {
            "model": "RVRec",
            "dataset": "small",
            "data_path": str(tmp_path),
            "show_progress": False,
            "train_batch_size": 4,
            "topk": [3],
            "metrics": ["NDCG"],
            "valid_metric": "NDCG@3",
            "rvrec_history": 5,
            "rvrec_candidates": 2,
        }
    )
    trainer._train_epoch(train_data, 0)
    model = trainer.model
    assert int(model.rvrec.histories.counts[1:].min()) <= 1
    for candidates in (0, 2):
        model.candidates = candidates
        scores = model.full_sort_predict({model.USER_ID: torch.arange(model.n_users)})
        assert torch.isfinite(scores).all()
