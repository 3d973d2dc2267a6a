import torch

from recbole_enhance.compat import baselines
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.experiment.config import Config, get_model_class
from recbole_enhance.testing.worlds import run_toy, toy_options


def test_pop_ranks_by_training_interactions(toy):
    for options in ({}, {"train_batch_size": 7, "epochs": 2, "train_neg_sample_args": None}):
        config = Config(config_dict=toy_options(toy, "Pop", **options))
        train, _, _ = prepare_data(config, create_dataset(config))
        pop = get_model_class("Pop")(config, train._dataset)
        for batch in train:
            pop.calculate_loss(batch)
        counts = torch.bincount(train._dataset.inter_feat["item_id"], minlength=49)
        assert pop.item_cnt.flatten().tolist() == counts.tolist()
        scores = pop.full_sort_predict({"user_id": torch.tensor([1, 2])}).view(2, -1)
        assert torch.equal(scores[1], counts / counts.max().double())


def test_random_ranks_for_each_user_whatever_the_batch(toy):
    config = Config(config_dict=toy_options(toy, "Random"))
    dataset = create_dataset(config)
    train, _, _ = prepare_data(config, dataset)
    random = get_model_class("Random")(config, train._dataset)
    users = torch.arange(1, 61)
    scores = random.full_sort_predict({"user_id": users}).view(60, -1)
    assert torch.equal(scores[3:5].flatten(), random.full_sort_predict({"user_id": users[3:5]}))
    items = torch.arange(49)
    pairs = {"user_id": torch.full((49,), 8), "item_id": items}
    assert torch.equal(random.predict(pairs), scores[7])
    assert ((scores >= 0) & (scores < 1)).all()
    assert len(scores.unique()) == scores.numel()
    assert abs(scores.mean() - 0.5) < 0.02
    correlation = torch.corrcoef(scores)
    assert (correlation - torch.eye(60)).abs().mean() < 0.15  # 0.115 by chance


def test_another_seed_is_another_list(toy):
    results = [
        run_toy(toy, "Random", saved=False, epochs=1, seed=seed)["test_result"]
        for seed in (1, 1, 2)
    ]
    assert results[0] == results[1] != results[2]


def test_it_is_done_once():
    baselines.pop_and_random()
    assert not baselines.pop_and_random()
