import re
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction
from torch.nn.functional import binary_cross_entropy, softplus

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.names import get_model_class
from recbole_enhance.experiment.quick_start import load_run, run_recbole_enhance
from recbole_enhance.model import MODELS, feature_aware, load_model
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml
from recbole_enhance.testing.worlds import assemble, feature_toy_options, toy_options


@pytest.fixture(params=["CER", "EFM"])
def trained(request, reviews):
    trainer, loaders = assemble(feature_toy_options(reviews, request.param))
    trainer.fit(*loaders[:2])
    return trainer.model, loaders


def some_pairs(model, n=40):
    generator = torch.Generator().manual_seed(1)
    user = torch.randint(1, model.n_users, (n,), generator=generator)
    return user, torch.randint(1, model.n_items, (n,), generator=generator)


def test_every_model_of_the_table_loads_by_name_in_any_case():
    for name in MODELS:
        assert get_model_class(name.lower()) is load_model(name)
        assert load_model(name).__name__ == name


@pytest.mark.parametrize("name", ["CER", "EFM"])
def test_every_option_is_read_and_documented(name):
    path = resource_dir("properties") / "model" / f"{name}.yaml"
    package = Path(feature_aware.__file__).parents[1]
    files = [
        package / "model" / f"{name.lower()}.py",
        package / "model" / "feature_aware.py",
        package / "data" / "mentions.py",
    ]
    text = "".join(file.read_text() for file in files)
    own = {key for key in load_yaml(path) if re.match(r"(cf|efm|feature|item_feature)_", key)}
    assert own
    for key in own:
        assert f'"{key}"' in text, key
    prefix = {"CER": "cf", "EFM": "efm"}[name]
    module = (package / "model" / f"{name.lower()}.py").read_text()
    assert set(re.findall(rf'config\["({prefix}_\w+)"\]', module)) <= own
    for line in path.read_text().splitlines()[1:]:
        assert re.match(r"\s*\w+: ?.*# \((int|float|bool|str|list|dict)\) .*\.$", line), line


def test_rows_of_scores_are_scores_of_pairs(trained):
    model, _ = trained
    user, item = some_pairs(model)
    with torch.no_grad():
        pairs = model.score_pairs(user, item)
        rows = model.score_pairs(user, item.unsqueeze(1).expand(-1, 3))
        given = model.score_pairs(user, item, model.item_features(item))
        everything = model.score_pairs(user, item, keep=torch.ones(len(user), model.n_features))
        batch = Interaction({"user_id": user, "item_id": item})
        full = model.full_sort_predict(Interaction({"user_id": user})).view(len(user), -1)
        assert torch.equal(model.predict(batch), pairs)
    for other in (rows[:, 0], rows[:, 2], given, everything):
        assert torch.allclose(other, pairs, atol=1e-6)
    assert torch.allclose(full.gather(1, item.unsqueeze(1)).squeeze(1), pairs, atol=1e-6)


def test_full_ranking_does_not_depend_on_the_chunk(trained, monkeypatch):
    model, _ = trained
    batch = Interaction({"user_id": torch.arange(1, 20)})
    with torch.no_grad():
        whole = model.full_sort_predict(batch)
        monkeypatch.setattr(feature_aware, "_CELLS", 1)
        assert torch.allclose(model.full_sort_predict(batch), whole, atol=1e-6)


def test_explanations_keep_their_form(trained):
    model, _ = trained
    model.zero_grad()
    user, item = some_pairs(model)
    with torch.no_grad():
        margin = model.score_pairs(user, item) * 0.7
    found = model.explain(user, item, margin)
    again = model.explain(user, item, margin)
    for a, b in zip(found, again):
        assert torch.equal(a, b)
    assert torch.equal(found.found, found.mask.any(1))
    for ranking, mask, weight in zip(found.ranking, found.mask, found.weight):
        named = ranking[ranking >= 0]
        assert set(named.tolist()) == set(mask.nonzero().flatten().tolist())
        assert (weight[named].diff() <= 0).all()
        assert (ranking[len(named) :] == -1).all()
    assert all(p.grad is None for p in model.parameters())


def test_a_run_comes_back_from_its_folder(reviews):
    options = feature_toy_options(reviews, "CER", epochs=2)
    options["eval_args"] = {"split": {"RS": [0.7, 0.1, 0.2]}, "mode": "full"}
    result = run_recbole_enhance(config_dict=options)
    run = load_run(result["run_dir"])
    assert dict(run.trainer.evaluate(run.test_data)) == result["test_result"]
    assert "item_feature_matrix" not in run.trainer.model.state_dict()


# ---- CER -------------------------------------------------------------------------------------


def cer_on(folder, **options):
    trainer, loaders = assemble(feature_toy_options(folder, "CER", **options))
    return trainer.model, loaders


def test_cer_is_an_mlp_over_both_vectors(reviews):
    """b2: the two halves of the first layer are one layer over [X_u ; Y_i]."""
    model, loaders = cer_on(reviews, mlp_hidden_size=[9, 4])
    user, item = some_pairs(model)
    weight = torch.cat([model.user_layer.weight, model.item_layer.weight], dim=1)
    joined = torch.cat([model.user_feature_matrix[user], model.item_feature_matrix[item]], dim=1)
    first = joined @ weight.T + model.user_layer.bias
    want = torch.sigmoid(model.tail(first).squeeze(1))
    assert torch.allclose(model.score_pairs(user, item), want, atol=1e-6)
    batch = next(iter(loaders[0]))
    scores = model.score_pairs(batch["user_id"], batch["item_id"])
    want = binary_cross_entropy(scores, batch["label"])
    assert torch.allclose(model.calculate_loss(batch), want, atol=1e-6)


def test_cer_draws_two_negatives_per_positive(reviews):
    _, loaders = cer_on(reviews)
    labels = torch.cat([batch["label"] for batch in loaders[0]])
    assert (labels == 0).sum() == 2 * (labels == 1).sum()


def test_cer_explains_by_what_takes_the_item_off_the_list(reviews):
    trainer, loaders = assemble(feature_toy_options(reviews, "CER", epochs=30))
    trainer.fit(*loaders[:2])
    model = trainer.model
    user, item = some_pairs(model, 60)
    with torch.no_grad():
        margin = model.score_pairs(user, item) * 0.8
    found = model.explain(user, item, margin)
    assert found.found.float().mean() > 0.5
    changed = (model.item_features(item) - found.weight).clamp(0, 5)
    with torch.no_grad():
        after = model.score_pairs(user, item, changed)
    assert (after < margin)[found.found].all()
    assert not (found.mask & ~(model.user_feature_matrix[user] > 0)).any()


def test_the_chunk_of_the_search_does_not_matter(reviews):
    model, _ = cer_on(reviews)
    user, item = some_pairs(model)
    margin = model.score_pairs(user, item).detach() * 0.8
    whole = model.explain(user, item, margin)
    model.chunk = 7
    parts = model.explain(user, item, margin)
    assert torch.allclose(whole.weight, parts.weight, atol=1e-5)
    assert torch.equal(whole.found, parts.found)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("cf_steps", 0),
        ("cf_learning_rate", 0),
        ("cf_lambda", 0),
        ("cf_gamma", -1),
        ("cf_alpha", -0.1),
        ("cf_threshold", -1),
        ("mlp_hidden_size", []),
        ("mlp_hidden_size", 5),
    ],
)
def test_cer_refuses_what_cannot_work(reviews, option, value):
    with pytest.raises(ValueError, match=f"{option}="):
        Config(config_dict=feature_toy_options(reviews, "CER", **{option: value}))


# ---- EFM -------------------------------------------------------------------------------------


def efm_on(folder, **options):
    trainer, loaders = assemble(feature_toy_options(folder, "EFM", **options))
    return trainer.model, loaders


def test_efm_ranks_by_the_exact_rule(reviews):
    """b4: R = alpha sum over C_u of X̂Ŷ / (kN) + (1 - alpha) Â, by a loop in numpy."""
    model, _ = efm_on(reviews, efm_cared=4, efm_alpha=0.7)
    names = ("user_explicit", "item_explicit", "feature_explicit", "user_latent", "item_latent")
    u1, u2, v, h1, h2 = (
        softplus(getattr(model, name).weight.detach()).double().numpy() for name in names
    )
    user, item = some_pairs(model)
    scores = model.score_pairs(user, item).detach()
    for u, i, score in zip(user.tolist(), item.tolist(), scores.tolist()):
        x, y = v @ u1[u], v @ u2[i]
        cared = np.argsort(-x)[:4]
        rating = u1[u] @ u2[i] + h1[u] @ h2[i]
        want = 0.7 * sum(x[f] * y[f] for f in cared) / (4 * 5.0) + 0.3 * rating
        assert score == pytest.approx(want, rel=1e-5)
    found = model.explain(user, item, scores)
    for u, i, ranking in zip(user.tolist(), item.tolist(), found.ranking):
        x, y = v @ u1[u], v @ u2[i]
        cared = np.argsort(-x)[:4]
        best = cared[np.argmax(y[cared])]  # "a feature on which this product performs well"
        assert ranking[0].item() == best
        assert set(ranking[ranking >= 0].tolist()) == set(cared.tolist())


def test_efm_loss_equals_a_loop(reviews):
    model, loaders = efm_on(reviews)
    batch = next(iter(loaders[0]))
    assert set(batch.columns) == {"user_id", "item_id", "rating"}  # no negatives
    names = ("user_explicit", "item_explicit", "feature_explicit", "user_latent", "item_latent")
    u1, u2, v, h1, h2 = (
        softplus(getattr(model, name).weight.detach()).double().numpy() for name in names
    )
    x, y = model.user_feature_matrix.numpy(), model.item_feature_matrix.numpy()
    losses = []
    for u, i, a in zip(*(batch[c].tolist() for c in ("user_id", "item_id", "rating"))):
        loss = (u1[u] @ u2[i] + h1[u] @ h2[i] - a) ** 2
        for matrix, row, factor in ((x, u, u1), (y, i, u2)):
            seen = matrix[row] > 0
            if seen.any():
                loss += np.mean((v @ factor[row] - matrix[row])[seen] ** 2)
        losses.append(loss + 0.01 * (u1[u] @ u1[u] + u2[i] @ u2[i] + h1[u] @ h1[u] + h2[i] @ h2[i]))
    want = np.mean(losses) + 0.01 * np.mean((v**2).sum(1))
    assert model.calculate_loss(batch).item() == pytest.approx(want, rel=1e-5)


def test_efm_does_not_read_y_when_it_ranks(reviews):
    model, _ = efm_on(reviews)
    user, item = some_pairs(model)
    other = torch.rand(len(item), model.n_features)
    assert torch.equal(model.score_pairs(user, item), model.score_pairs(user, item, other))


def test_efm_starts_in_the_papers_range(reviews):
    model, _ = efm_on(reviews)
    values = softplus(model.user_explicit.weight)
    assert 0 < values.min() < values.max() < (5 / 100) ** 0.5 + 1e-6


def test_efm_needs_ratings(reviews):
    options = feature_toy_options(reviews, "EFM", load_col={"inter": ["user_id", "item_id"]})
    with pytest.raises(ValueError, match="model=EFM: needs ratings"):
        Config(config_dict=options)


@pytest.mark.parametrize(
    ("option", "value"),
    [("efm_alpha", 1.5), ("efm_cared", 0), ("efm_lambda_x", -1), ("efm_explicit", 0)],
)
def test_efm_refuses_what_cannot_work(reviews, option, value):
    with pytest.raises(ValueError, match=f"{option}="):
        Config(config_dict=feature_toy_options(reviews, "EFM", **{option: value}))


def test_models_with_features_train_on_item_attributes_too(toy):
    for model in ("CER", "EFM"):
        result = run_recbole_enhance(
            config_dict=toy_options(toy, model, show_progress=False, epochs=1), saved=False
        )
        assert 0 <= result["test_result"]["recall@10"] <= 1


@pytest.mark.parametrize("source", ["auto", "interaction", "item_attribute"])
def test_an_item_column_that_is_not_there_is_refused_even_if_reviews_come_first(reviews, source):
    options = {"item_feature_field": "bogus", "feature_source": source}
    with pytest.raises(
        OptionError, match=r"^item_feature_field=bogus: no item column: .*reviews.i"
    ):
        Config(config_dict=feature_toy_options(reviews, "CER", **options))
