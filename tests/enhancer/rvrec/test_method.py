import copy
import csv
from pathlib import Path

import pytest
import torch
from recbole.model.general_recommender.bpr import BPR
from recbole.utils import init_seed

from recbole_enhance.enhancer.rvrec import embedding_tables, method
from recbole_enhance.enhancer.rvrec.histories import Histories
from recbole_enhance.enhancer.rvrec.method import without_pairs
from recbole_enhance.enhancer.rvrec.network import RVRecNetwork
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options

GRAPHS = ("LightGCN", "NGCF", "DGCF", "SGL")
OURS = ("ProtoMF", "TransGNN", "MultiGCCF")
TAKEN = ("BPR", *GRAPHS, *OURS)
# The paper's reading, as it was before the item query.
USER = {
    "rvrec_query": "user",
    "rvrec_peo": True,
    "rvrec_coalitions": "learned",
    "rvrec_alpha_start": 0.0,
    "rvrec_scalar_learning_rate": None,
}
DROPOUT_FREE = {"NGCF": {"message_dropout": 0.0, "node_dropout": 0.0}}


def options_of(backbone):
    factors = {"DGCF": {"n_factors": 2}}
    return {**factors.get(backbone, {}), **DROPOUT_FREE.get(backbone, {})}


def built(toy, backbone="BPR", plain=False, **options):
    """Trainer, training loader: a plain backbone, or RVRec over it, asked by the user."""
    options = {**options_of(backbone), **options}
    if plain:
        trainer, loaders = assemble(toy_options(toy, backbone, show_progress=False, **options))
    else:
        options = {**USER, "show_progress": False, **options}
        given = toy_options(toy, "RVRec", backbone=backbone, **options)
        trainer, loaders = assemble(given)
    return trainer, loaders[0]


def everybody(model):
    return {model.USER_ID: torch.arange(1, model.n_users)}


BAD = (
    ("rvrec_history", 0),
    ("rvrec_kappa", -1),
    ("rvrec_temperature", 0),
    ("rvrec_gate_mode", "soft"),
    ("rvrec_weights", "equal"),
    ("rvrec_coalitions", "all"),
    ("rvrec_gate_objective", "phi"),
    ("rvrec_sigma_floor", 0),
    ("rvrec_partitions", 1),
    ("rvrec_contrast_negatives", -1),
    ("rvrec_contrast_weight", -0.1),
    ("rvrec_hidden", 1.5),
)


class TestContract(Contract):
    method = "RVRec"
    backbones = TAKEN
    refused = (
        "MultiDAE",
        "SASRec",
        "Pop",
        "DMF",
        "ENMF",
        "ItemKNN",
        "SLIMElastic",
        "EASE",
        "NeuMF",
        "DIN",
    )

    neutral = ({"rvrec_peo": False, "rvrec_msvr": False},)
    resumed = ({}, *({**USER, "rvrec_gate_mode": mode} for mode in ("exact", "sampled", "hard")))
    bad_options = tuple(({name: value}, f"{name}={value}: must be ") for name, value in BAD)

    def options_of(self, backbone):
        return options_of(backbone)


# ---- the backbone ------------------------------------------------------------------------------


@pytest.mark.parametrize("mean_head", [False, True])
@pytest.mark.parametrize("backbone", TAKEN)
def test_at_its_start_it_is_the_backbone_to_the_last_bit(toy, backbone, mean_head):
    ours = built(toy, backbone, rvrec_mean_head=mean_head)[0].model
    plain = built(toy, backbone, plain=True)[0].model
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    with torch.no_grad():
        ours.eval()
        plain.eval()
        users = everybody(ours)
        assert torch.equal(  # SGL's is not flat
            ours.full_sort_predict(users), plain.full_sort_predict(users).view(-1)
        )
        pairs = {ours.USER_ID: torch.arange(1, 40), ours.ITEM_ID: torch.arange(1, 40)}
        assert torch.equal(ours.predict(pairs), plain.predict(pairs))


@pytest.mark.parametrize("backbone", GRAPHS)
def test_the_backbones_forward_is_given_back_even_if_its_loss_raises(toy, backbone):
    trainer, data = built(toy, backbone)
    model, batch = trainer.model, next(iter(data))
    model.train()
    model.calculate_loss(batch)
    assert "forward" not in vars(model)

    loss = "mf_loss" if hasattr(model, "mf_loss") else "reg_loss"
    setattr(model, loss, BrokenLoss())
    with pytest.raises(RuntimeError, match="broken"):
        model.calculate_loss(batch)
    assert "forward" not in vars(model)


class BrokenLoss(torch.nn.Module):
    def forward(self, *_, **__):
        raise RuntimeError("broken")


@pytest.mark.parametrize("backbone", ["BPR", *GRAPHS])
def test_at_its_start_its_loss_is_the_backbones(toy, backbone):
    losses = []
    for plain in (False, True):
        trainer, data = built(toy, backbone, plain=plain)
        batch = next(iter(data))
        init_seed(3, True)
        trainer.model.train()
        loss = trainer.model.calculate_loss(batch)
        losses.append(loss.item() if plain else loss[0].item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_backbone_with_the_three_methods_is_taken(toy):
    trainer, data = built(toy, backbone=Product)
    loss = trainer._train_epoch(data, 0)
    assert all(part > float("-inf") for part in loss)
    plain = assemble(toy_options(toy, Product, show_progress=False))[0].model.eval()
    fresh = built(toy, backbone=Product)[0].model.eval()
    users = everybody(plain)
    assert torch.equal(fresh.full_sort_predict(users), plain.full_sort_predict(users))


class Product(BPR):
    """A model of the user's, whose scores are of doubled rows."""

    def enhancer_tables(self):
        return self.user_embedding.weight, self.item_embedding.weight

    def enhancer_head(self, U, I):
        return 2 * U, I

    def enhancer_loss(self, U_score, I_score, interaction, U=None, I=None):
        user = U_score[interaction[self.USER_ID]]
        right = (user * I_score[interaction[self.ITEM_ID]]).sum(1)
        wrong = (user * I_score[interaction[self.NEG_ITEM_ID]]).sum(1)
        return self.loss(right, wrong), 0.0 * U.sum()

    def full_sort_predict(self, interaction):
        return 2 * super().full_sort_predict(interaction)


# ---- leave one out -----------------------------------------------------------------------------


def prototypes_of_a_batch(model, batch):
    seen = {}
    real = RVRecNetwork.enhance

    def spy(self, *args, **kwargs):
        seen["enhanced"] = real(self, *args, **kwargs)
        return seen["enhanced"]

    RVRecNetwork.enhance = spy
    try:
        model.calculate_loss(batch)
    finally:
        RVRecNetwork.enhance = real
    return seen["enhanced"].weighted.prototype.detach()


@pytest.mark.parametrize("mode", ["exact", "hard"])
def test_the_positive_of_the_batch_cannot_be_read_off_the_prototype(toy, mode, monkeypatch):
    trainer, data = built(toy, rvrec_gate_mode=mode)
    model, batch = trainer.model, next(iter(data))
    with torch.no_grad():
        model.rvrec.prototypes.gate.weight.normal_()
    batch = type(batch)({k: v[:1] for k, v in batch.interaction.items()})
    before = prototypes_of_a_batch(model, batch)
    with torch.no_grad():
        model.item_embedding.weight[batch[model.ITEM_ID]] += 5.0
    assert torch.equal(prototypes_of_a_batch(model, batch), before)
    monkeypatch.setattr(method, "without_pairs", lambda chains, *_: chains)
    leaking = prototypes_of_a_batch(model, batch)
    with torch.no_grad():
        model.item_embedding.weight[batch[model.ITEM_ID]] -= 5.0
    assert (prototypes_of_a_batch(model, batch) - leaking).abs().max() > 0.1


def test_the_players_beside_the_positive_become_neighbours():
    histories = Histories(torch.tensor([1, 1, 1, 2]), torch.tensor([4, 5, 6, 5]), None, 3)
    chains = histories.last(torch.tensor([1, 2]), 9)
    left = without_pairs(chains, torch.tensor([0]), torch.tensor([5]), 7)
    assert left.item.tolist() == [4, 6, 5]
    assert left.row.tolist() == [0, 0, 1]
    assert left.lengths.tolist() == [2, 1]
    assert left.places(3).tolist() == [0, 1, 3]


# ---- inference ---------------------------------------------------------------------------------


def test_a_model_file_gives_the_same_scores(toy, tmp_path):
    result = run_toy(toy, "RVRec", epochs=2, eval_step=1, run_dir=str(tmp_path / "run"), **USER)
    run = load_run(result["run_dir"])
    model = run.trainer.model
    scores = model.full_sort_predict(everybody(model))
    assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]
    fresh = built(toy)[0].model
    fresh.full_sort_predict(everybody(fresh))  # tables of other parameters
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh.full_sort_predict(everybody(fresh)), scores)


def test_tables_are_forgotten_when_parameters_may_change(toy):
    trainer, data = built(toy)
    model, batch = trainer.model, next(iter(data))
    for forget in (
        lambda: model.train(),
        lambda: model.load_state_dict(model.state_dict()),
        lambda: model.load_other_parameter(model.other_parameter()),
        lambda: model.calculate_loss(batch),
    ):
        model.full_sort_predict(everybody(model))
        assert model._scoring is not None
        forget()
        assert model._scoring is None
    assert not any("tables" in name for name in model.other_parameter())


def test_a_model_with_tables_can_be_copied(toy):
    model = built(toy)[0].model
    scores = model.full_sort_predict(everybody(model))
    twin = copy.deepcopy(model)
    assert torch.equal(twin.full_sort_predict(everybody(twin)), scores)


# ---- options -----------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["BPR", "LightGCN"])
@pytest.mark.parametrize(
    "options",
    [
        {"rvrec_msvr": False},
        {"rvrec_peo": False},
        {"rvrec_weights": "uniform"},
        {"rvrec_coalitions": "random"},
        {"rvrec_mean_head": True},
        {"rvrec_contrast_weight": 0.0},
        {"rvrec_contrast_weight": 0.0, "rvrec_mean_head": True},
        {"rvrec_gate_weight": 0.0},
        {"rvrec_gate_mode": "sampled"},
        {"rvrec_gate_mode": "hard"},
        {"rvrec_gate_mode": "hard", "rvrec_coalitions": "random"},
        {"rvrec_gate_objective": "shapley"},
        {"rvrec_gate_objective": "removal"},
        {"rvrec_gate_objective": "agreement"},
        {"rvrec_contrast_negatives": 0},
        {"rvrec_kappa": 0.0},
        {"rvrec_history": 1},
        {"rvrec_gate_mode": "sampled", "rvrec_gate_objective": "removal"},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()),
)
def test_every_choice_trains(toy, backbone, options):
    trainer, data = built(toy, backbone, rvrec_hidden=8, **options)
    before = {k: v.clone() for k, v in trainer.model.rvrec.state_dict().items()}
    for epoch in range(2):
        losses = trainer._train_epoch(data, epoch)
        parts = losses if isinstance(losses, tuple) else (losses,)
        assert all(abs(part) < 1e6 for part in parts)
    # What stays: the deviations without a loss on them, gates that have nothing to learn from.
    unmoved = {
        name.rpartition(".")[0]
        for name, value in trainer.model.rvrec.state_dict().items()
        if torch.equal(value, before[name])
    }
    expected = set()
    if options.get("rvrec_contrast_weight") == 0:
        expected |= {
            f"{side}.deviation_{end}" for side in ("users", "items") for end in ("in", "out")
        }
        if not options.get("rvrec_mean_head"):
            expected |= {"users.shared", "items.shared"}
    if options.get("rvrec_history") == 1:
        expected |= {"prototypes.gate"}
    assert unmoved == expected
    assert torch.isfinite(trainer.model.full_sort_predict(everybody(trainer.model))).all()


def test_uniform_weights_are_the_mean_prototype_and_so_is_a_large_temperature(toy):
    def prototype(**options):
        model = built(toy, **options)[0].model
        U0, I0 = model.adapter.base(model)
        users = torch.arange(model.n_users)
        return model, users, model.enhanced_users(users, U0, I0).weighted.prototype

    model, users, uniform = prototype(rvrec_weights="uniform")
    chains = model.rvrec.histories.last(users, 20)
    total = torch.zeros_like(uniform).index_add(
        0, chains.row, model.item_embedding.weight[chains.item]
    )
    torch.testing.assert_close(uniform, total / chains.lengths.clamp(min=1).unsqueeze(1))
    torch.testing.assert_close(prototype(rvrec_temperature=1e9)[2], uniform)
    assert (prototype()[2] - uniform).abs().max() > 1e-4


def test_history_csv_watches_sigma_and_the_gates(toy):
    result = run_toy(toy, "RVRec", epochs=2, **USER)
    with open(Path(result["run_dir"], "history.csv")) as file:
        rows = list(csv.DictReader(file))
    for side in ("user", "item"):
        assert 0.01 < float(rows[-1][f"rvrec_sigma_{side}"]) < 2
        assert float(rows[-1][f"rvrec_sigma_{side}_std"]) > 0
        assert -1 <= float(rows[-1][f"rvrec_sigma_{side}_degree"]) <= 1
    assert float(rows[-1]["rvrec_gate_moved"]) > float(rows[0]["rvrec_gate_moved"]) > 0
    assert float(rows[-1]["rvrec_coalition_size"]) >= 1
    assert float(rows[-1]["rvrec_alpha"]) != 0


def test_collapsed_variances_are_told_once(toy, caplog):
    trainer, data = built(toy)
    with torch.no_grad():
        for heads in (trainer.model.rvrec.users, trainer.model.rvrec.items):
            heads.deviation_out.bias.fill_(-30.0)
    for epoch in range(2):
        trainer._train_epoch(data, epoch)
    told = [r.getMessage() for r in caplog.records if "collapsed" in r.getMessage()]
    assert len(told) == 1
    assert "rvrec_sigma_user" in told[0]
    assert "rvrec_sigma_floor=0.01" in told[0]


def test_a_refusal_names_the_backbones_that_work(toy):
    with pytest.raises(ValueError, match=r"backbone=NeuMF: .*backbones that work: BPR, LightGCN, "):
        Config(config_dict=toy_options(toy, "RVRec", backbone="NeuMF"))
    assert set(embedding_tables.ADAPTERS) <= set(method.backbones())


# ---- odd data ----------------------------------------------------------------------------------


def write_small(folder, lines, header):
    (folder / "small").mkdir(parents=True)
    text = header + "\n" + "".join("\t".join(map(str, line)) + "\n" for line in lines)
    (folder / "small" / "small.inter").write_text(text)
    return folder


def small_options(folder, **options):
    return {
        "model": "RVRec",
        "dataset": "small",
        "data_path": str(folder),
        "show_progress": False,
        "epochs": 2,
        "train_batch_size": 16,
        "embedding_size": 8,
        "valid_metric": "NDCG@5",
        "topk": [5],
        "metrics": ["NDCG"],
        **USER,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        **options,
    }


def test_users_with_no_one_or_many_items_are_taken(tmp_path):
    """In training: a has one, b two, d and e more than H; nobody trains on c's."""
    lines = [
        (user, f"i{(7 * n + 3 * k) % 30}", n)
        for k, (user, many) in enumerate([("a", 1), ("b", 4), ("c", 1), ("d", 25), ("e", 12)])
        for n in range(many)
    ]
    folder = write_small(tmp_path, lines, "user_id:token\titem_id:token\ttimestamp:float")
    trainer, (train_data, valid_data, _) = assemble(small_options(folder, rvrec_history=5))
    model = trainer.model
    assert int(model.rvrec.histories.counts.max()) > 5
    assert int(model.rvrec.histories.counts[0]) == 0  # padding has none
    trainer.fit(train_data, valid_data)
    scores = model.full_sort_predict({model.USER_ID: torch.arange(model.n_users)})
    assert torch.isfinite(scores).all()
    users = torch.arange(model.n_users)
    U0, I0 = model.adapter.base(model)
    weighted = model.enhanced_users(users, U0, I0).weighted
    chains = model.rvrec.histories.last(users, 5)
    sums = torch.zeros(len(users)).index_add(0, chains.row, weighted.weights.detach())
    torch.testing.assert_close(sums, (chains.lengths > 0).float())
    assert (weighted.prototype[chains.lengths == 0] == 0).all()


def test_histories_are_in_the_order_of_time(tmp_path):
    lines = [("a", f"i{n}", 100 - n) for n in range(8)]
    folder = write_small(tmp_path, lines, "user_id:token\titem_id:token\ttimestamp:float")
    trainer, (train_data, *_) = assemble(small_options(folder))
    items = trainer.model.rvrec.histories.last(torch.tensor([1]), 20).item
    tokens = train_data._dataset.id2token("item_id", items).tolist()
    assert tokens == [f"i{n}" for n in range(7, 1, -1)]  # i1 and i0 are held out


@pytest.mark.parametrize(
    "options",
    [
        {"rvrec_contrast_weight": 0.0},
        {"rvrec_contrast_weight": 0.0, "rvrec_mean_head": True},
        {"rvrec_contrast_weight": 0.0, "rvrec_peo": False},
        {},
    ],
    ids=lambda options: " ".join(f"{k}={v}" for k, v in options.items()),
)
def test_a_peo_that_does_nothing_is_warned_of(toy, caplog, options):
    built(toy, "BPR", **options)
    told = [record.getMessage() for record in caplog.records]
    inert = options == {"rvrec_contrast_weight": 0.0}
    assert any("nothing is left of PEO" in text for text in told) == inert


def test_without_times_the_order_of_the_file_is_taken_with_a_warning(tmp_path, caplog):
    lines = [("a", f"i{n}") for n in (3, 1, 4, 5, 9, 2, 6, 8, 7, 0)] + [("b", "i1"), ("b", "i2")]
    folder = write_small(tmp_path, lines, "user_id:token\titem_id:token")
    split = {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "full"}
    trainer, (train_data, *_) = assemble(small_options(folder, eval_args=split))
    items = trainer.model.rvrec.histories.last(torch.tensor([1]), 20).item
    tokens = train_data._dataset.id2token("item_id", items).tolist()
    written = [f"i{n}" for n in (3, 1, 4, 5, 9, 2, 6, 8, 7, 0)]
    assert tokens == [token for token in written if token in tokens]
    assert len(tokens) == 8
    told = [record.getMessage() for record in caplog.records]
    assert any("no column timestamp is loaded" in text for text in told)
    trainer._train_epoch(train_data, 0)
