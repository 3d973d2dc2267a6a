import numpy as np
import pytest
import torch
from recbole.data import create_dataset, data_preparation
from recbole.utils import init_seed

from recbole_enhance.data.negatives import uniform_outside
from recbole_enhance.enhancer.dvr.method import DVROptions
from recbole_enhance.enhancer.dvr.reward import Reward, read_reward
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.schema import validated
from recbole_enhance.testing.worlds import toy_options
from recbole_enhance.training.trainer import make_trainer


@pytest.fixture(params=["BPR", "NeuMF"])
def run(request, toy):
    exact = {"metrics": ["Recall", "NDCG", "MRR", "GiniIndex"], "metric_decimal_place": 12}
    config = Config(config_dict=toy_options(toy, request.param, **exact))
    config["checkpoint_dir"] = "."
    init_seed(config["seed"], True)
    train, valid, test = data_preparation(config, create_dataset(config))
    trainer = make_trainer(config, config.model_class(config, train._dataset), None)
    trainer.fit(train, valid)
    return config, train, valid, test, trainer


def reward(run, text, known=None, held_out=None):
    config, train, valid, _, trainer = run
    return Reward(
        read_reward(text),
        config,
        known or [train._dataset],
        held_out or valid._dataset,
        trainer._full_sort_batch_eval,
    )


@pytest.mark.parametrize("name", ["recall@5", "ndcg@10", "mrr@5"])
def test_over_all_users_it_is_recboles_evaluation(run, name, generator):
    _, train, valid, test, trainer = run
    expected = trainer.evaluate(valid, load_best_model=False)[name]
    assert reward(run, name)(trainer.model, 10_000, generator) == pytest.approx(expected, abs=1e-9)
    known = [train._dataset, valid._dataset]
    expected = trainer.evaluate(test, load_best_model=False)[name]
    measured = reward(run, name, known, test._dataset)(trainer.model, 10_000, generator)
    assert measured == pytest.approx(expected, abs=1e-9)


def test_metrics_better_when_smaller_are_negative(run, generator):
    *_, trainer = run
    for name in ("gini@5", "giniindex@5", "loss"):
        assert reward(run, name)(trainer.model, 10, generator) < 0
    for name in ("cc@5", "ild@5"):
        assert 0 <= reward(run, name)(trainer.model, 10, generator) <= 1


def test_negatives_are_unknown_items(run, generator):
    _, train, valid, _, _ = run
    measure = reward(run, "loss")
    users = torch.from_numpy(np.repeat(np.arange(1, 61), 50))
    items = uniform_outside(measure.used, users, generator)
    known = {
        pair
        for split in (train, valid)
        for pair in zip(
            split._dataset.inter_feat["user_id"].tolist(),
            split._dataset.inter_feat["item_id"].tolist(),
        )
    }
    assert not known & set(zip(users.tolist(), items.tolist()))
    assert items.min() >= 1
    assert len(items.unique()) == 48


def test_the_loss_reward_is_the_training_loss_of_unseen_pairs(run, generator):
    *_, trainer = run
    measure = reward(run, "loss")
    values = [measure(trainer.model, 60, generator) for _ in range(5)]
    assert len(set(values)) == 5  # fresh negatives each time
    assert all(-5 < value < 0 for value in values)
    assert trainer.model.training


def test_memory_does_not_change_it(run):
    config, *_, trainer = run
    values = []
    for memory in (512, 0.001):
        config["eval_memory_mb"] = memory
        values.append(reward(run, "ndcg@5")(trainer.model, 30, torch.Generator().manual_seed(1)))
    assert values[0] == pytest.approx(values[1], abs=1e-12)


@pytest.mark.parametrize(
    "text", ["ndcg", "ndcg@0", "ndcg@-1", "ndcg@x", "loss@5", "auc@5", "", "ndcg@5@6"]
)
def test_unknown_rewards_are_refused(text):
    with pytest.raises(ValueError, match="dvr_reward="):
        validated(DVROptions, {"dvr_reward": text})
