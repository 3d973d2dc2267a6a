import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import PolynomialFeatures

from recbole_enhance.shapley.amortise import amortised, ranks


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=60))
def test_ranks_are_the_middle_ones_of_equal_numbers(numbers):
    expected = (rankdata(numbers) - 0.5) / len(numbers)
    np.testing.assert_allclose(ranks(torch.tensor(numbers)), expected)


def world(seed, n=200, d=3):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator)
    return torch.randn(n, generator=generator) + features[:, 0], features


@given(st.integers(0, 1000))
def test_it_is_a_regression_on_ranks_their_squares_and_products(seed):
    values, features = world(seed)
    columns = np.stack([(rankdata(column) - 0.5) / 200 for column in features.T], 1)
    design = PolynomialFeatures(2).fit_transform(columns)
    target = (rankdata(values) - 0.5) / 200
    expected = LinearRegression().fit(design, target).predict(design)
    np.testing.assert_allclose(amortised(values, features), expected, atol=1e-8)


@given(st.integers(0, 1000))
def test_units_and_order_do_not_matter(seed):
    values, features = world(seed)
    found = amortised(values, features)
    torch.testing.assert_close(amortised(values.exp(), 3 * features.double() - 1), found)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(amortised(values[order], features[order]), found[order])


def test_it_denoises_what_the_features_tell():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(5000, generator=generator)
    noisy = truth + 2 * torch.randn(5000, generator=generator)
    other = torch.rand(5000, generator=generator)
    found = amortised(noisy, torch.stack([truth.square(), other], 1))
    close = [np.corrcoef(x, truth)[0, 1] for x in (noisy, found)]
    assert close[0] < 0.2
    assert close[1] > 0.95


def test_a_feature_without_spread_is_no_trouble():
    values, features = world(1)
    features[:, 1] = 2.0
    features[:, 2] = features[:, 0]
    found = amortised(values, features)
    torch.testing.assert_close(found, amortised(values, features[:, :1]))
    assert found.std() > 0.05
    assert amortised(torch.ones(3), torch.ones(3, 1)).tolist() == pytest.approx([0.5] * 3)
