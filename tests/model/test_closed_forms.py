import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import EASE, ItemKNN, SLIMElastic
from recbole.model.general_recommender.itemknn import ComputeSimilarity

from recbole_enhance.model import closed_forms
from recbole_enhance.model.closed_forms import nearest, ridge_weights
from recbole_enhance.model.faster import faster
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage import resources

NAMES = {"USER_ID_FIELD": "user", "ITEM_ID_FIELD": "item", "NEG_PREFIX": "neg_", "device": "cpu"}


def history(rows, columns, share, seed, repeated=False):
    """Ones, with padding that nobody has; some are twos where pairs repeat."""
    random = np.random.default_rng(seed)
    dense = (random.random((rows, columns)) < share).astype(np.float32)
    dense[0], dense[:, 0] = 0, 0
    if repeated:
        dense *= 1 + (random.random(dense.shape) < 0.2)
    return sp.csr_matrix(dense.astype(np.float32))


def both(of_recbole, matrix, **options):
    """RecBole's model, and ours."""
    shape = dict(zip(("user", "item"), matrix.shape))
    dataset = SimpleNamespace(num=shape.get, inter_matrix=lambda form: matrix.copy())
    config = type("Config", (dict,), {"device": "cpu"})({**NAMES, **options})
    made = []
    for model_class in (of_recbole, faster(of_recbole)):
        np.random.seed(3)
        made.append(model_class(config, dataset).eval())
    return made


def assert_same_scores(theirs, ours, tolerance):
    users = torch.arange(theirs.n_users)
    expected = theirs.full_sort_predict(Interaction({"user": users})).flatten()
    found = ours.full_sort_predict(Interaction({"user": users}))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    items = (7 * users + 1) % theirs.n_items
    pairs = Interaction({"user": users, "item": items})
    expected = expected.view(len(users), -1)[users, items]
    torch.testing.assert_close(ours.predict(pairs), expected, atol=tolerance, rtol=tolerance)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 30),
    st.integers(2, 40),
    st.sampled_from([0.02, 0.1, 0.3, 0.9]),
    st.integers(1, 50),
    st.sampled_from([0.0, 0.1, 100.0]),
    st.booleans(),
    st.integers(0, 999),
)
def test_neighbours_are_recboles_with_its_choice_among_equals(
    rows, columns, share, k, shrink, repeated, seed
):
    matrix = history(rows, columns, share, seed, repeated)
    _, expected = ComputeSimilarity(matrix, topk=k, shrink=shrink).compute_similarity()
    found = nearest(matrix, k, shrink)
    assert found.has_sorted_indices
    assert np.array_equal(found.T.toarray(), expected.toarray())


def test_neighbours_do_not_depend_on_the_size_of_blocks(monkeypatch):
    matrix = history(40, 300, 0.05, 1)
    expected = nearest(matrix, 10, 0.0)
    monkeypatch.setattr(closed_forms, "_ENTRIES", 900)
    monkeypatch.setattr(closed_forms, "_CELLS", 700)
    assert np.array_equal(nearest(matrix, 10, 0.0).toarray(), expected.toarray())


@pytest.mark.parametrize("method", ["item", "user"])
def test_itemknn_scores_as_recboles(method):
    options = {"k": 5, "shrink": 1.0, "knn_method": method}
    theirs, ours = both(ItemKNN, history(30, 50, 0.2, 2, repeated=True), **options)
    assert_same_scores(theirs, ours, 0)
    assert ours.other_parameter() == {}
    ours.load_other_parameter(theirs.other_parameter())  # of an earlier version's file
    assert_same_scores(theirs, ours, 0)


@pytest.mark.parametrize("reg_weight", [0.01, 3.0, 250.0])
def test_ease_scores_as_the_inverse(reg_weight):
    matrix = history(40, 60, 0.2, 3)
    theirs, ours = both(EASE, matrix, reg_weight=reg_weight)
    gram = (matrix.T @ matrix).toarray().astype(np.float64) + reg_weight * np.eye(60)
    inverse = np.linalg.inv(gram)
    exact = -inverse / inverse.diagonal()
    np.fill_diagonal(exact, 0)
    np.testing.assert_allclose(ours.item_similarity, exact, atol=1e-6)
    assert ours.item_similarity.dtype == np.float32
    theirs.item_similarity = np.asmatrix(exact.astype(np.float32))  # its own errs at small weights
    assert_same_scores(theirs, ours, 1e-5)


def test_ease_takes_float64_where_the_condition_asks_for_it(monkeypatch):
    taken = []
    for name in ("spotrf", "dpotrf"):
        real = getattr(closed_forms.lapack, name)

        def noting(*args, _name=name, _real=real, **kwargs):
            taken.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(closed_forms.lapack, name, noting)
    matrix = history(40, 60, 0.2, 3)
    ridge_weights(matrix, 250.0)
    ridge_weights(matrix, 0.01)
    assert taken == ["spotrf", "dpotrf"]


def test_ease_does_not_depend_on_the_size_of_blocks(monkeypatch):
    matrix = history(40, 61, 0.2, 3)
    expected = ridge_weights(matrix, 2.0)
    monkeypatch.setattr(closed_forms, "_CELLS", 61 * 7)
    assert np.array_equal(ridge_weights(matrix, 2.0), expected)


def test_ease_without_an_inverse_names_the_weight():
    with pytest.raises(OptionError, match="reg_weight=0: the Gram matrix has no inverse"):
        ridge_weights(history(5, 9, 0.5, 0), 0)


def test_ease_that_does_not_fit_is_refused_with_numbers(monkeypatch):
    monkeypatch.setattr(resources, "free_bytes", lambda: 10_000)
    with pytest.raises(InputError, match=r"60 x 60 items in float32 and needs 1\.7.*e-05 GB more"):
        ridge_weights(history(40, 60, 0.2, 3), 250.0)


@pytest.mark.parametrize("hide", [True, False])
@pytest.mark.parametrize("positive", [True, False])
def test_slim_draws_and_fits_as_recboles(hide, positive):
    options = {"alpha": 0.01, "l1_ratio": 0.1, "positive_only": positive, "hide_item": hide}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = both(SLIMElastic, history(40, 30, 0.3, 4), **options)
    assert abs(theirs.item_similarity).max() > 0.05
    assert abs(theirs.item_similarity - ours.item_similarity).max() < 1e-6
    assert_same_scores(theirs, ours, 1e-6)


def test_a_class_with_its_own_scores_stays_as_it_is():
    class Own(EASE):
        def predict(self, interaction):
            return super().predict(interaction) + 1

    class Renamed(EASE):
        pass

    assert faster(Own) is Own
    assert faster(Renamed).__name__ == "Renamed"
    assert issubclass(faster(Renamed), Renamed)
    assert faster(torch.nn.Linear) is torch.nn.Linear
