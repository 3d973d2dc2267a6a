import csv
import gzip
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_enhance.enhancer.dvr import policy
from recbole_enhance.enhancer.dvr import trainer as dvr_trainer
from recbole_enhance.enhancer.dvr.method import BACKBONES, DVROptions
from recbole_enhance.enhancer.dvr.trainer import HarsanyiTrainer
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.schema import describe
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.comparing import assert_same, trained
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import run_toy, toy_options
from recbole_enhance.training.trainer import make_trainer

BAD = (
    ("dvr_network", "mlp"),
    ("dvr_weighting", "hard"),
    ("dvr_normalization", "tanh"),
    ("dvr_reward", "nonsense@5"),
    *((f"dvr_{name}", 0) for name in ("sample_dim", "units", "blocks")),
    *((f"dvr_{name}", 0) for name in ("update_interval", "reward_users")),
    ("dvr_weighting", "direct"),
    ("dvr_utility", "leave_one_out"),
    ("dvr_reward", {"ndcg@5": 1}),
    *((f"dvr_{name}", -1) for name in ("learning_rate", "policy_learning_rate", "exploration")),
    ("dvr_warmup_epochs", -1),
    ("dvr_gamma", 0),
    ("dvr_act_ratio", 0),
    ("dvr_act_ratio", 1.5),
    ("dvr_eps", 0),
    ("dvr_eps", 0.5),
    ("dvr_baseline_momentum", -0.1),
    ("dvr_baseline_momentum", 1),
    ("eval_step", 0),
)

CHOICES = {key: describe(DVROptions, key).choices for key in DVROptions.model_fields}


HARSANYI = {"dvr_values": "harsanyi"}


class TestContract(Contract):
    method = "DVR"
    backbones = tuple(name for name in BACKBONES if name != "NCL")  # needs faiss
    refused = ("MultiDAE", "SASRec", "Pop", "SGL", "FM", "EASE", "LINE")
    neutral = (
        {"dvr_warmup_epochs": 100},
        {"dvr_warmup_epochs": 100, "dvr_weighting": "sample"},
        {"dvr_warmup_epochs": 100, "dvr_network": "slot", "dvr_reward": "loss"},
    )
    resumed = ({}, {"dvr_weighting": "sample", "backbone": "NeuMF"})
    bad_options = tuple(({name: value}, f"{name}={value}: ") for name, value in BAD)

    def run_options(self, toy, model, **options):
        own = HARSANYI if model == "DVR" else {}
        return super().run_options(toy, model, **{**own, **options})


def trainer_on(toy, model="DVR", **options):
    """A trainer with its loaders, as quick_start builds them."""
    if model == "DVR":
        options = {**HARSANYI, **options}
    config = Config(config_dict=toy_options(toy, model, show_progress=False, **options))
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], True)
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], True)
    net = config.model_class(config, loaders[0]._dataset)
    return make_trainer(config, net, None), loaders


@pytest.mark.parametrize("normalization", CHOICES["dvr_normalization"])
@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN"])
def test_equal_values_are_the_backbone_bit_for_bit(toy, backbone, normalization, monkeypatch):
    plain = trained(toy_options(toy, backbone))
    soften = policy.soften
    monkeypatch.setattr(policy, "soften", lambda v, *rest: soften(v * 0 + 0.3, *rest))
    options = {"dvr_exploration": 0, "dvr_normalization": normalization, **HARSANYI}
    assert_same(plain, trained(toy_options(toy, "DVR", backbone=backbone, **options)))


@pytest.mark.parametrize(
    "reward", ["loss", "recall@5", "ndcg@5", "cc@5", "ild@5", "gini@5", "mrr@5"]
)
@pytest.mark.parametrize("backbone", ["BPR", "NeuMF"])
def test_every_reward_trains(toy, backbone, reward):
    result = run_toy(toy, "DVR", backbone=backbone, dvr_reward=reward, **HARSANYI)
    row = history_rows(Path(result["run_dir"]))[-1]
    assert (float(row["dvr_reward"]) < 0) == (reward in ("loss", "gini@5"))
    assert float(row["dvr_reward_std"]) >= 0
    assert -1 <= float(row["dvr_cosine"]) <= 1


@pytest.mark.parametrize("network", CHOICES["dvr_network"])
@pytest.mark.parametrize("weighting", ["soft", "sample"])
@pytest.mark.parametrize("normalization", CHOICES["dvr_normalization"])
def test_every_parameter_of_the_valuator_moves(toy, network, weighting, normalization):
    options = {
        "dvr_network": network,
        "dvr_weighting": weighting,
        "dvr_normalization": normalization,
    }
    trainer, (train, valid, _) = trainer_on(toy, epochs=6, dvr_act_ratio=0.2, **options)
    modules = {"encoder": trainer.estimator.encoder, "network": trainer.estimator.network}
    named = {f"{m}.{n}": p for m, net in modules.items() for n, p in net.named_parameters()}
    before = {name: p.detach().clone() for name, p in named.items()}
    trainer.fit(train, valid)
    for name, parameter in named.items():
        assert parameter.isfinite().all(), name
        assert not torch.equal(parameter, before[name]), name


def test_a_good_reward_makes_the_action_likelier(toy):
    """The reference's sign lowers the probability of what was rewarded; ours must raise it."""
    for advantage, sign in ((1.0, 1), (-1.0, -1)):
        trainer, (train, valid, _) = trainer_on(toy, dvr_learning_rate=0, dvr_weighting="sample")
        trainer.has_policy = trainer.has_fit = False
        trainer.epochs = 1
        trainer.fit(train, valid)
        batch = next(iter(train))
        losses = torch.rand(len(batch))
        estimator, mover = trainer.estimator, trainer.policy
        chosen = torch.rand(len(batch)) < 0.5

        def log_pi(estimator=estimator, batch=batch, losses=losses, chosen=chosen):
            values = estimator(batch, losses).values
            w = policy.normalize(values, "sigmoid", 0.05)
            return torch.where(chosen, w, 1 - w).log().mean()

        before = log_pi()
        mover.add(before, retain_graph=False)
        mover.baseline.advantage = lambda _, a=advantage: a
        mover.move(0.0)
        assert (log_pi() - before) * sign > 0


@pytest.mark.parametrize("sign", [1, -1])
def test_rewarded_samples_gain_probability(toy, monkeypatch, sign):
    """A planted reward: how much oftener samples of low loss (or of high loss) are chosen."""
    trainer, (train, valid, _) = trainer_on(
        toy,
        epochs=60,
        dvr_weighting="sample",
        dvr_learning_rate=0,
        dvr_policy_learning_rate=0.01,
        dvr_update_interval=1,
        learning_rate=0.02,
        train_batch_size=1024,
        eval_step=20,
    )
    gap, losses_of = [], trainer._weigh

    def see_losses(batch, losses):
        trainer.low = losses < losses.median()
        return losses_of(batch, losses)

    def see_choice(values, *rest, select=policy.select):
        action = select(values, *rest)
        on = (action.weights > 0).float()
        gap.append((on[trainer.low].mean() - on[~trainer.low].mean()).item())
        return action

    monkeypatch.setattr(trainer, "_weigh", see_losses)
    monkeypatch.setattr(policy, "select", see_choice)
    monkeypatch.setattr(dvr_trainer, "Reward", lambda *_: lambda *_: sign * gap[-1])
    trainer.fit(train, valid)
    assert sign * torch.tensor(gap).mean() > 0.08  # 0 without learning, some 0.3 at the most


def test_the_reward_never_sees_training_or_test_positives(toy, monkeypatch):
    trainer, (train, valid, test) = trainer_on(toy, epochs=1)
    seen = []
    original = trainer._full_sort_batch_eval

    def spy(batch):
        interaction, _, rows, items = batch
        seen.extend(zip(interaction["user_id"][rows].tolist(), items.tolist()))
        return original(batch)

    monkeypatch.setattr(trainer, "_full_sort_batch_eval", spy)
    trainer.fit(train, valid)
    pairs = [
        set(
            zip(
                d._dataset.inter_feat["user_id"].tolist(), d._dataset.inter_feat["item_id"].tolist()
            )
        )
        for d in (train, valid, test)
    ]
    assert seen
    assert set(seen) <= pairs[1]


def test_values_are_written_in_the_users_tokens(toy):
    result = run_toy(toy, "DVR", **HARSANYI)
    with gzip.open(Path(result["run_dir"], "values.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    with open(toy / "toy" / "toy.inter") as file:
        pairs = {tuple(line.split("\t")[:2]) for line in file}
    assert {(row["user_id"], row["item_id"]) for row in rows} < pairs  # the training part of them
    assert all(row["times_seen"] == "3" for row in rows)
    assert all(0.05 <= float(row["selection_probability"]) <= 0.95 for row in rows)
    assert len({row["value"] for row in rows}) > len(rows) // 2


def test_several_negatives_per_positive_are_averaged(toy):
    trainer, (train, valid, _) = trainer_on(
        toy,
        epochs=2,
        train_neg_sample_args={"sample_num": 3},
        train_batch_size=10_000,
        dvr_update_interval=1,
    )
    trainer.fit(train, valid)
    assert (trainer.record.seen == 6).all()  # of two epochs
    batch = {"inter_idx": torch.tensor([0, 1, 0, 0]), "user_id": torch.ones(4)}
    trainer.record.seen.zero_()
    values = torch.tensor([1.0, 5.0, 2.0, 6.0])
    trainer._record(batch, values, torch.full((4,), 0.5), torch.rand(4))
    ratio = trainer.record.values[0] / trainer.record.values[1]
    assert ratio == pytest.approx(3 / 5)


def test_slots_hold_the_smallest_batch_and_explicit_labels(toy):
    options = {"dvr_network": "slot", "backbone": "NeuMF", "epochs": 1}
    negatives = {"train_neg_sample_args": {"sample_num": 5}, "train_batch_size": 3}
    labels = {"train_neg_sample_args": None, "threshold": {"rating": 4}}
    for extra in (negatives, labels):
        trainer, (train, valid, _) = trainer_on(toy, **options, **extra)
        trainer.fit(train, valid)
        assert (trainer.record.seen > 0).any()


def test_shapley_values_of_a_real_batch_add_up(toy):
    for network in CHOICES["dvr_network"]:
        trainer, (train, valid, _) = trainer_on(toy, dvr_network=network, epochs=1)
        trainer.fit(train, valid)
        batch = next(iter(train))
        estimator = trainer.estimator
        features = estimator.features(batch, torch.rand(len(batch))).double()
        out = estimator.network.double()(estimator.encoder.double()(features))
        assert abs(out.values.sum() - out.prediction) < 1e-10


def test_without_validation_there_is_no_reward(toy):
    trainer, (train, _, _) = trainer_on(toy)
    with pytest.raises(ValueError, match="dvr_reward=ndcg@5: needs validation"):
        trainer.fit(train, None)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=50),
    st.sampled_from(CHOICES["dvr_normalization"]),
)
def test_probabilities_keep_order_and_bounds(values, how):
    values = torch.tensor(values)
    w = policy.normalize(values, how, 0.05)
    assert ((w >= 0.05 - 1e-6) & (w <= 0.95 + 1e-6)).all()
    order = values.argsort()
    if how != "rank":
        assert (w[order].diff() >= -1e-6).all()


def test_selection_is_the_mean_over_the_selected(generator):
    values = torch.randn(1000, generator=generator)
    action = policy.select(values, "sigmoid", 0.05, generator)
    losses = torch.rand(1000, generator=generator)
    torch.testing.assert_close((action.weights * losses).mean(), losses[action.weights > 0].mean())
    w = action.w.double()
    assert (
        abs((action.weights > 0).double().mean() - w.mean())
        < 5 * (w * (1 - w)).mean().sqrt() / 1000**0.5
    )


@pytest.mark.parametrize("how", ["select", "soften"])
def test_log_pi_has_the_gradient_of_the_density(generator, how):
    """Against finite differences of the density of the same action."""
    values = torch.randn(6, dtype=torch.float64, generator=generator).requires_grad_()
    seed = generator.get_state()
    if how == "select":
        action = policy.select(values, "sigmoid", 0.05, generator)
        s = (action.weights > 0).double()

        def log_density(v):
            w = policy.normalize(v, "sigmoid", 0.05)
            return (s * w.log() + (1 - s) * (1 - w).log()).mean()
    else:
        action = policy.soften(values, "sigmoid", 0.05, 0.5, generator)
        generator.set_state(seed)
        drawn = (
            policy.standardize(values).detach() + 0.5 * torch.randn(6, generator=generator).double()
        )

        def log_density(v):
            normal = torch.distributions.Normal(policy.standardize(v), 0.5)
            return normal.log_prob(drawn).mean()

    (gradient,) = torch.autograd.grad(action.log_pi, values)
    step = 1e-6
    for i in range(6):
        bump = torch.zeros(6, dtype=torch.float64)
        bump[i] = step
        slope = (log_density(values + bump) - log_density(values - bump)) / (2 * step)
        assert abs(slope - gradient[i]) < 1e-6


def test_resume_restores_the_method(toy):
    trainer, (train, valid, _) = trainer_on(toy)
    assert isinstance(trainer, HarsanyiTrainer)
    trainer.fit(train, valid)
    other, _ = trainer_on(toy)
    other.load_method_state(trainer.method_state())
    assert torch.equal(other.record.values, trainer.record.values)
    assert other.policy.baseline.n_rewards == trainer.policy.baseline.n_rewards > 0
    for a, b in zip(other.estimator.parameters, trainer.estimator.parameters):
        assert torch.equal(a, b)
