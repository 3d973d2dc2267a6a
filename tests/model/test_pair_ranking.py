import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from recbole_enhance.data.loaders import join, prepare_data
from recbole_enhance.experiment.assembly import assemble
from recbole_enhance.experiment.config import Config
from recbole_enhance.model import pair_ranking
from recbole_enhance.model.pair_ranking import add_layers

CONTEXT = {
    "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "full"},
    "metrics": ["NDCG"],
    "valid_metric": "NDCG@10",
    "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    "threshold": None,
}
LAYERS = {"mlp_hidden_size": [20, 8]}
COLUMNS = {
    "load_col": {
        "inter": ["user_id", "item_id"],
        "user": ["user_id", "age", "gender"],
        "item": ["item_id", "class", "release_year"],
    },
}
CASES = {
    "NeuMF": ("NeuMF", {"mlp_hidden_size": [24, 10]}),
    "deep NeuMF": ("NeuMF", {"mlp_hidden_size": [24, 10, 7]}),
    "shallow NeuMF": ("NeuMF", {"mlp_hidden_size": [24]}),
    "NeuMF's layers": ("NeuMF", {"mf_train": False}),
    "NeuMF's product": ("NeuMF", {"mlp_train": False}),
    "FM": ("FM", {**CONTEXT, **COLUMNS}),
    "DeepFM": ("DeepFM", {**CONTEXT, **COLUMNS, **LAYERS}),
    "WideDeep": ("WideDeep", {**CONTEXT, **COLUMNS, **LAYERS}),
}


@pytest.mark.parametrize("case", CASES)
def test_all_items_score_as_pairs_do(case, monkeypatch):
    model, options = CASES[case]
    run = assemble(Config(model, "ml-100k", config_dict={"epochs": 1, "use_gpu": False, **options}))
    model, dataset = run.trainer.model.eval(), run.test_data._dataset
    with torch.no_grad():
        for parameter in model.parameters():  # as training leaves them: biases too
            parameter.normal_(0, 0.3)
    model.double()  # sums in another order round otherwise
    users = join(dataset, pair_ranking.Interaction({"user_id": run.test_data.uid_list[:3]}))
    items = dataset.get_item_feature()
    pairs = users.repeat_interleave(len(items))
    pairs.update(items.repeat(3))
    monkeypatch.setattr(pair_ranking, "_PAIRS", 500)
    with torch.no_grad():
        expected, found = model.predict(pairs), model.full_sort_predict(users)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    with pytest.raises(NotImplementedError):  # with gradients, as RecBole
        model.full_sort_predict(users)
    model.train()
    with torch.no_grad(), pytest.raises(NotImplementedError):  # with dropout, as RecBole
        model.full_sort_predict(users)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 7),
    st.integers(1, 30),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.sampled_from([1, 3, 16, 64]),
)
def test_blocks_of_any_size_give_the_layers(users, items, sizes, pairs):
    torch.manual_seed(users + 7 * items)
    layers = [nn.Linear(*both).double() for both in itertools.pairwise(sizes)]
    own, other = (torch.randn(n, sizes[0], dtype=torch.float64) for n in (users, items))
    last = torch.randn(sizes[-1], dtype=torch.float64)
    hidden = (own.unsqueeze(1) + other).relu()
    for layer in layers:
        hidden = layer(hidden).relu()
    scores = torch.ones(users, items, dtype=torch.float64)
    before, pair_ranking._PAIRS = pair_ranking._PAIRS, pairs
    try:
        with torch.no_grad():
            add_layers(scores, own, other, layers, last)
    finally:
        pair_ranking._PAIRS = before
    torch.testing.assert_close(scores, 1 + hidden @ last)


def test_only_fast_runs_have_it_and_batches_are_of_scores():
    options = {"use_gpu": False, "show_progress": False}
    fast, plain = (
        Config("NeuMF", "ml-100k", config_dict={**options, "fast": fast}) for fast in (True, False)
    )
    assert fast.model_class is not plain.model_class
    assert plain.model_class.__module__ == "recbole.model.general_recommender.neumf"
    steps = [prepare(config) for config in (fast, plain)]
    assert steps == [(12 << 20) // 4 // 1683, (1 << 16) // 1683]
    wrapped = Config("IaCN", "ml-100k", config_dict={**options, "backbone": "DeepFM"})
    assert not issubclass(wrapped.model_class, pair_ranking._Ranking)


def prepare(config):
    from recbole_enhance.data.dataset import create_dataset

    config["checkpoint_dir"] = "."
    return prepare_data(config, create_dataset(config))[1].step
