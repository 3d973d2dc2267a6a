"""DVR with values in closed form, from options to files."""

import csv
import gzip
import json
from pathlib import Path

import pytest
import torch

from recbole_enhance.enhancer.dvr import in_run
from recbole_enhance.enhancer.dvr.method import BACKBONES
from recbole_enhance.enhancer.dvr.utility import (
    ListUtility,
    RewardPart,
    parts_of,
    steerable_metrics,
)
from recbole_enhance.evaluation.ties import drawn_order
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.idle import tell_notes
from recbole_enhance.metric.registry import register
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.shapley.in_run import step_sizes, values_from_slopes
from recbole_enhance.storage.run_folder import history_rows
from recbole_enhance.testing.contract import Contract
from recbole_enhance.testing.worlds import assemble, run_toy, toy_options, write_toy

REWARDS = ("loss", "recall@5", "ndcg@5", "cc@5", "ild@5", "gini@5", "itemcoverage@5", "groupgap@5")
GROUPS = {
    "group_fields": ["gender"],
    "load_col": {
        "inter": ["user_id", "item_id"],
        "item": ["item_id", "genres"],
        "user": ["user_id", "gender"],
    },
}


class TestContract(Contract):
    method = "DVR"
    backbones = tuple(name for name in BACKBONES if name != "NCL")  # needs faiss
    refused = ("MultiDAE", "SASRec", "Pop", "SGL", "FM", "EASE", "LINE")
    neutral = (
        {"dvr_strength": 0, "epochs": 5},
        {"dvr_strength": 0, "epochs": 5, "dvr_weighting": "direct"},
        {"dvr_strength": 0, "epochs": 5, "dvr_utility": "leave_one_out"},
        {"dvr_utility": "leave_one_out", "epochs": 2},  # both are plain
    )
    resumed = (
        {},
        {"dvr_weighting": "direct"},
        {"dvr_refresh_steps": 3, "backbone": "NeuMF"},
        {"dvr_utility": "leave_one_out"},
    )


def put_together(toy, model="DVR", **options):
    return assemble(toy_options(toy, model, show_progress=False, **options))


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("backbone", ["BPR", "NeuMF"])
def test_every_reward_trains(toy, backbone, reward):
    result = run_toy(toy, "DVR", backbone=backbone, dvr_reward=reward, **GROUPS)
    rows = history_rows(Path(result["run_dir"]))
    smaller = reward.partition("@")[0] in ("loss", "gini", "groupgap")
    assert (float(rows[-1]["dvr_utility"]) < 0) == smaller
    assert rows[0]["dvr_weight_std"] == ""  # the first two epochs are plain
    assert float(rows[-1]["dvr_weight_std"]) > 0
    assert float(rows[-1]["dvr_gain"]) != 0


@pytest.mark.parametrize("learner", ["adam", "sgd", "adagrad", "rmsprop"])
@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN"])
def test_a_batchs_values_add_up_to_the_utilitys_change(toy, backbone, learner):
    """sum phi = <step, grad U>, the step being that of the optimiser's preconditioner."""
    still = {"dropout_prob": 0.0} if backbone == "NeuMF" else {}
    trainer, (train, valid, _) = put_together(
        toy, backbone=backbone, learner=learner, dvr_reward="loss", epochs=1, **still
    )
    trainer.fit(train, valid)
    batch = next(iter(train))
    trainer._refresh()
    caught = []
    trainer.loss.along(trainer.direction, batch, lambda _, slopes: caught.append(slopes))
    named = dict(trainer.model.named_parameters())
    trainer.loss.criterion.combine = lambda losses, *scores: caught.append(losses.mean())
    trainer.model.calculate_loss(batch)
    trainer.loss.criterion.combine = None
    gradients = torch.autograd.grad(caught[1], list(named.values()), allow_unused=True)
    sizes, change = step_sizes(trainer.optimizer), 0.0
    for (name, parameter), gradient in zip(named.items(), gradients):
        if gradient is not None and name in trainer.gradient:
            step = -sizes[parameter] * gradient
            change += (step.double() * trainer.gradient[name].double()).sum()
    assert values_from_slopes(caught[0].double()).sum() == pytest.approx(float(change), rel=1e-4)


class Untouchable:
    """Stands for rows that nobody may read."""

    def __getattr__(self, name):
        raise AssertionError(f"test rows were touched: {name}")

    def __getitem__(self, name):
        raise AssertionError(f"test rows were touched: {name}")

    def __len__(self):
        raise AssertionError("test rows were counted")


@pytest.mark.parametrize("utility", ["validation", "leave_one_out"])
def test_no_test_row_is_touched(toy, utility):
    trainer, (train, valid, test) = put_together(toy, dvr_utility=utility)
    test._dataset.inter_feat = test.positives = test.history = Untouchable()
    trainer.fit(train, valid)
    assert trainer.record.visits.any()


def pairs_of(dataset):
    rows = dataset.inter_feat
    return set(zip(rows["user_id"].tolist(), rows["item_id"].tolist()))


@pytest.mark.parametrize("reward", ["ndcg@5", "loss"])
@pytest.mark.parametrize("mode", ["full", "uni10"])
def test_one_part_of_validation_judges_and_the_other_selects(toy, monkeypatch, reward, mode):
    trainer, (train, valid, _) = put_together(toy, dvr_reward=reward, eval_args={"mode": mode})
    parts = {}
    original = in_run.InRunTrainer._part

    def part(self, training, valid_data):
        judges, selects = original(self, training, valid_data)
        parts.update(judges=judges, selects=selects._dataset)
        return judges, selects

    refresh = in_run.InRunTrainer._refresh

    def blind(self):
        """While values are made, the rows that select cannot be read."""
        rows, parts["selects"].inter_feat = parts["selects"].inter_feat, Untouchable()
        try:
            refresh(self)
        finally:
            parts["selects"].inter_feat = rows

    monkeypatch.setattr(in_run.InRunTrainer, "_part", part)
    monkeypatch.setattr(in_run.InRunTrainer, "_refresh", blind)
    trainer.fit(train, valid)
    judges, selects = pairs_of(parts["judges"]), pairs_of(parts["selects"])
    assert not judges & selects
    assert judges | selects == pairs_of(valid._dataset)
    assert abs(len(judges) - len(selects)) <= 1
    assert trainer.report() == {"dvr_validation": {"judges": len(judges), "selects": len(selects)}}
    if reward != "loss":
        ranked = trainer.utility.ranking
        assert pairs_of(ranked._dataset) == judges
        positives = ranked.positives
        users = torch.arange(len(positives.counts))
        rows, items = positives.of(users)
        assert set(zip(users[rows].tolist(), items.tolist())) == judges


def test_lists_of_the_utility_may_hold_what_selects(toy):
    """Only training items are masked: a masked one would tell that it is held out."""
    trainer, (train, valid, _) = put_together(toy)
    trainer.fit(train, valid)
    history = trainer.utility.ranking.history
    users = torch.arange(len(history.counts))
    rows, items = history.of(users)
    assert set(zip(users[rows].tolist(), items.tolist())) == pairs_of(train._dataset)


def test_metrics_json_says_how_validation_was_parted(toy):
    for options, expected in (
        ({}, {"judges": 30, "selects": 30}),
        ({"dvr_strength": 0}, {"judges": 30, "selects": 60}),
        ({"dvr_utility": "leave_one_out"}, {"judges": 0, "selects": 60}),
    ):
        result = run_toy(toy, "DVR", epochs=1, **options)
        metrics = json.loads(Path(result["run_dir"], "metrics.json").read_text())
        assert metrics["dvr_validation"] == expected


def test_strength_0_parts_validation_where_it_is_compared_with_others(toy):
    """In a search, and with dvr_judges; it trains as the backbone, bit for bit."""
    run = run_toy(toy, "DVR", dvr_strength=0, dvr_judges=0.5, run_dir="parted")
    metrics = json.loads(Path(run["run_dir"], "metrics.json").read_text())
    assert metrics["dvr_validation"] == {"judges": 30, "selects": 30}
    plain = run_toy(toy, "BPR", run_dir="plain")
    losses = [[r["train_loss"] for r in history_rows(Path(x["run_dir"]))] for x in (run, plain)]
    assert losses[0] == losses[1]
    config = Config(config_dict=toy_options(toy, "DVR"))
    assert config.method.in_search(config) == {"dvr_judges": 0.5}
    for own in ({"dvr_judges": 0.3}, {"train_on_validation": 0.5}, {"dvr_values": "harsanyi"}):
        config = Config(config_dict=toy_options(toy, "DVR", **own))
        assert config.method.in_search(config) == {}


def test_options_that_nobody_reads_are_told(toy, caplog):
    options = toy_options(toy, "DVR", dvr_units=7)
    tell_notes(Config(config_dict=options))
    assert "dvr_units, dvr_update_interval: not read with dvr_values=inrun" in caplog.text
    caplog.clear()
    tell_notes(Config(config_dict={**options, "dvr_values": "harsanyi", "dvr_strength": 0.1}))
    assert "dvr_strength: not read with dvr_values=harsanyi" in caplog.text


def test_leave_one_out_needs_no_validation(toy):
    trainer, (train, _, _) = put_together(toy, dvr_utility="leave_one_out", eval_step=0)
    trainer.fit(train, None)
    assert trainer.record.visits.sum() > 0


@pytest.mark.parametrize("backbone", ["BPR", "NeuMF", "LightGCN"])
def test_a_samples_own_part_leaves_the_utility(toy, backbone):
    """On average over the signs, and exactly: <g_m, eta H g'_m> of both losses by autograd."""
    still = {"dropout_prob": 0.0} if backbone == "NeuMF" else {}
    trainer, (train, valid, _) = put_together(
        toy, dvr_utility="leave_one_out", backbone=backbone, epochs=2, learner="sgd", **still
    )
    trainer.fit(train, valid)
    batch = next(iter(train))
    rows, n = batch["inter_idx"], len(batch)
    judge, share = trainer.utility.own_batch(rows)
    assert share.sum() == pytest.approx(n / len(train._dataset) / (len(judge) // n))
    named = dict(trainer.model.named_parameters())

    def gradients(batch):
        caught = []
        trainer.loss.criterion.combine = lambda losses, *scores: caught.append(losses)
        trainer.model.calculate_loss(batch)
        trainer.loss.criterion.combine = None
        each = [
            torch.autograd.grad(x, list(named.values()), retain_graph=True, allow_unused=True)
            for x in caught[0].view(-1, n)[:, :6].flatten()
        ]
        flat = [torch.cat([g.flatten() for g in one if g is not None]) for one in each]
        return torch.stack(flat).view(-1, 6, len(flat[0])).sum(0)

    rate = trainer.optimizer.param_groups[0]["lr"]
    expected = rate * share[:6] * (gradients(batch) * gradients(judge)).sum(1)
    found = []
    for _ in range(400):
        trainer._refresh_signs()
        found.append(trainer._own_part(batch)[:6])
    found = torch.stack(found)
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - expected).abs() < 4 * error + 1e-12).all()
    assert (expected.abs() > 2 * error).any()  # and it is not all noise


def test_values_are_written_in_the_users_tokens(toy):
    result = run_toy(toy, "DVR", epochs=4)
    with gzip.open(Path(result["run_dir"], "values.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user_id", "item_id", "value", "standard_error", "times_seen"]
    with open(toy / "toy" / "toy.inter") as file:
        pairs = {tuple(line.split("\t")[:2]) for line in file}
    assert {(row["user_id"], row["item_id"]) for row in rows} < pairs  # the training part of them
    assert all(row["times_seen"] == "3" for row in rows)  # the first epoch has no scale yet
    errors = [float(row["standard_error"]) for row in rows]  # 0 where no judge looks
    assert min(errors) >= 0
    assert sum(error > 0 for error in errors) > len(errors) // 2
    assert len({row["value"] for row in rows}) > len(rows) // 2


def test_a_negative_has_no_value_of_its_own(toy):
    """Several negatives of a positive are visits of one interaction; labels of 0 are none."""
    for backbone, visits in (("BPR", 3), ("NeuMF", 1)):
        trainer, (train, valid, _) = put_together(
            toy,
            backbone=backbone,
            epochs=2,
            train_neg_sample_args={"sample_num": 3},
            train_batch_size=10_000,
        )
        trainer.fit(train, valid)
        assert (trainer.record.visits == visits).all()


def test_weights_follow_the_values(toy, monkeypatch):
    trainer, (train, valid, _) = put_together(toy, dvr_strength=0.5)
    seen = []
    weigh = in_run.odd_weights

    def spy(values, strength):
        seen.append((values, weigh(values, strength), strength))
        return seen[-1][1]

    monkeypatch.setattr(in_run, "odd_weights", spy)
    trainer.fit(train, valid)
    assert len(seen) == len(train)  # the third epoch
    for values, weights, strength in seen:
        assert strength == 0.5
        order = values.argsort()
        assert (weights[order].diff() >= 0).all()


def test_direct_adds_the_gradient_at_its_share_of_the_norm(toy):
    trainer, (train, valid, _) = put_together(toy, dvr_weighting="direct", dvr_strength=0.3)
    trainer.fit(train, valid)
    named = dict(trainer.model.named_parameters())
    own = {name: torch.randn_like(p) for name, p in named.items()}
    for name, parameter in named.items():
        parameter.grad = own[name].clone()
    trainer._add_gradient()

    def flat(tensors):
        return torch.cat([tensors[name].flatten() for name in named])

    added = flat({name: p.grad for name, p in named.items()}) - flat(own)
    torch.testing.assert_close(added.norm(), 0.3 * flat(own).norm())
    cosine = torch.nn.functional.cosine_similarity(added, flat(trainer.gradient), dim=0)
    assert cosine == pytest.approx(-1, abs=1e-5)  # the optimiser descends


@pytest.mark.parametrize(
    ("options", "strength"),
    [
        ({}, 0.2),
        ({"dvr_reward": "loss"}, 0.2),
        ({"dvr_reward": "ild@5"}, 0.05),
        ({"dvr_reward": {"ndcg@5": 1, "cc@5": 0.5}}, 0.05),
        ({"dvr_weighting": "direct"}, 0.04),
        ({"dvr_weighting": "direct", "dvr_reward": "gini@5"}, 0.02),
        ({"dvr_utility": "leave_one_out", "dvr_reward": "cc@5"}, 0.2),
        ({"dvr_strength": 0.7}, 0.7),
    ],
)
def test_the_strength_goes_by_the_reward(toy, options, strength):
    assert put_together(toy, **options)[0].strength == strength


# ---- a step along the gradient ---------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """BPR half-way on the planted world, whose lists can go up and down by every metric."""
    torch.set_num_threads(1)
    folder = write_toy(tmp_path_factory.mktemp("steps"))
    options = {**GROUPS, "learning_rate": 0.02, "epochs": 8}
    trainer, (train, valid, _) = put_together(folder, dvr_strength=0, **options)
    trainer.fit(train, valid)
    return trainer, train._dataset, valid._dataset


METRICS = [
    "recall@5",
    "ndcg@5",
    "map@5",
    "hit@5",
    "precision@5",
    "mrr@5",
    "cc@5",
    "categoryrecall@5",
    "subtopicrecall@5",
    "ild@5",
    "embeddingild@5",
    "categoryentropy@5",
    "calibration@5",
    "averagepopularity@5",
    "tailpercentage@5",
    "arp@5",
    "aplt@5",
    "epc@5",
    "efd@5",
    "miuf@5",
    "serendipity@5",
    "gini@5",
    "itemcoverage@1",
    "groupgap@5",
    "groupmad@5",
]


@pytest.mark.parametrize("reward", METRICS)
def test_a_step_along_the_gradient_raises_the_reward_and_one_against_it_lowers_it(
    trained, reward, generator
):
    register()
    trainer, training, held_out = trained
    trainer.config["dvr_reward_users"], trainer.config["dvr_reward_samples"] = 1000, 512
    parts = parts_of(reward)
    score = trainer._full_sort_batch_eval
    utility = ListUtility(parts, trainer.config, training, held_out, score)
    model = trainer.model.eval()
    gradient, now = utility.gradient(model, generator)
    named = dict(model.named_parameters())
    scale = sum(p.norm() ** 2 for p in named.values()) ** 0.5
    scale = 0.05 * scale / sum(g.norm() ** 2 for g in gradient.values()) ** 0.5
    after = {}
    for sign in (1, -1):
        with torch.no_grad():
            for name, g in gradient.items():
                named[name].add_(sign * scale * g)
        after[sign] = utility.gradient(model, generator)[1]
        with torch.no_grad():
            for name, g in gradient.items():
                named[name].sub_(sign * scale * g)
    assert after[1] > now > after[-1] or (after[1] > after[-1] and now in after.values())


def test_equal_scores_stand_as_in_evaluation(trained):
    """A reward that has ties in the order of ids would pay for what is popular."""
    trainer, training, held_out = trained

    def score(batch):
        found = trainer._full_sort_batch_eval(batch)
        return found[0], torch.where(found[1] > -torch.inf, 0.0, found[1]), *found[2:]

    utility = ListUtility(parts_of("ndcg@5"), trainer.config, training, held_out, score)
    _, candidates, _ = utility._rank(trainer.model.eval(), utility.users)
    place = drawn_order(held_out.item_num, trainer.config["seed"])
    place[0] = len(place)  # the padding, behind the candidates that there are
    assert (place[candidates].diff(dim=1) >= 0).all()


def test_several_rewards_add_up(trained, generator):
    trainer, training, held_out = trained
    trainer.config["dvr_reward_users"], trainer.config["dvr_reward_samples"] = 1000, 64
    score, model = trainer._full_sort_batch_eval, trainer.model.eval()
    found = {}
    for reward in ("ndcg@5", "gini@5", {"ndcg@5": 1, "gini@5": 0.3}):
        utility = ListUtility(parts_of(reward), trainer.config, training, held_out, score)
        found[str(reward)] = utility.gradient(model, torch.Generator().manual_seed(3))
    (first, a), (second, b), (both, c) = found.values()
    assert c == pytest.approx(a + 0.3 * b)
    for name, gradient in both.items():
        torch.testing.assert_close(gradient, first[name] + 0.3 * second[name])


# ---- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dvr_values": "harsany"}, "dvr_values=harsany: must be one of inrun, harsanyi"),
        ({"dvr_strength": -0.1}, "dvr_strength=-0.1: .*at least 0"),
        ({"dvr_reward_samples": 0}, "dvr_reward_samples=0: .*whole number"),
        ({"dvr_refresh_steps": 0}, "dvr_refresh_steps=0: .*whole number"),
        ({"dvr_utility": "test"}, "dvr_utility=test: must be one of validation, leave_one_out"),
        ({"dvr_weighting": "sample"}, "dvr_weighting=sample: with dvr_values=inrun one of soft"),
        (
            {"dvr_weighting": "direct", "dvr_values": "harsanyi"},
            "dvr_weighting=direct: with dvr_values=harsanyi one of soft, sample",
        ),
        (
            {"dvr_utility": "leave_one_out", "dvr_values": "harsanyi"},
            "dvr_utility=leave_one_out: with dvr_values=harsanyi validation only",
        ),
        ({"dvr_reward": "popreo@5"}, "dvr_reward=popreo@5: popreo is no metric of one user's list"),
        ({"dvr_reward": "nonparityunfairness@5", **GROUPS}, "no metric of one user's list"),
        ({"dvr_reward": "ndgc@5"}, "dvr_reward=ndgc@5: loss, or NAME@K"),
        ({"dvr_reward": {"ndcg@5": 0}}, "weights above 0 by metric"),
        ({"dvr_reward": {"ndcg@5": 1, "loss": 1}}, "loss cannot be combined with metrics"),
        ({"dvr_reward": {}}, "weights above 0 by metric"),
        ({"item_category_field": None, "dvr_reward": "cc@5"}, "needs item_category_field"),
        ({"dvr_reward": "groupgap@5"}, "dvr_reward=groupgap@5: needs group_fields"),
        ({"eval_step": 0}, "eval_step=0: .*DVR needs validation"),
    ],
)
def test_bad_options_are_refused_before_data_are_read(toy, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        Config(config_dict=toy_options(toy, "DVR", **options))
    assert "\n" not in str(caught.value)


def test_a_list_of_all_items_has_no_outsider(toy):
    trainer, (train, valid, _) = put_together(toy, dvr_reward={"ndcg@48": 1})
    with pytest.raises(InputError, match="k must be below the 48 items"):
        trainer.fit(train, valid)


def test_without_validation_leave_one_out_is_named(toy):
    trainer, (train, _, _) = put_together(toy)
    with pytest.raises(OptionError, match=r"dvr_utility=validation: .*leave_one_out needs none"):
        trainer.fit(train, None)


def test_rewards_are_read():
    register()
    assert parts_of("CC@20") == [RewardPart("categorycoverage", 20, 1.0)]
    assert parts_of("loss") == [RewardPart("loss", 0, 1.0)]
    assert [part.k for part in parts_of({"ndcg@20": 1, "ild@10": 2})] == [20, 10]
    short = {"cc": "categorycoverage", "gini": "giniindex"}
    names = [text.partition("@")[0] for text in METRICS]
    assert sorted(short.get(name, name) for name in names) == steerable_metrics()
