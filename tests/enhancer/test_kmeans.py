import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from recbole_enhance.enhancer.kmeans import cluster_means, kmeans, lloyd, nearest, spread_start


def blobs(n, k, d, spread, seed):
    """Points around k centres, in double precision."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d)) * 5
    return torch.from_numpy(centres[rng.integers(k, size=n)] + rng.normal(size=(n, d)) * spread)


def inertia(points, label):
    """Sum of squared distances to the cluster's mean, one cluster after the other."""
    clusters = [points[label == c] for c in label.unique()]
    return sum((p - p.mean(0)).square().sum().item() for p in clusters)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "k", "d"), [(200, 5, 3), (500, 20, 8), (60, 60, 2), (40, 1, 4)])
def test_lloyd_ends_where_scikit_learn_does(n, k, d, seed):
    points = blobs(n, k, d, 1.0, seed)
    start = spread_start(points, k, torch.Generator().manual_seed(seed))
    ours = inertia(points, nearest(points, lloyd(points, start)))
    theirs = KMeans(k, init=start.numpy(), n_init=1, algorithm="lloyd", tol=0).fit(points.numpy())
    assert ours == pytest.approx(theirs.inertia_, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_its_start_is_as_good_as_scikit_learns(seed):
    points = blobs(400, 8, 4, 1.5, seed)
    ours = [inertia(points, kmeans(points, 8, torch.Generator().manual_seed(s))) for s in range(10)]
    theirs = [
        KMeans(8, init="k-means++", n_init=1, random_state=s).fit(points.numpy()).inertia_
        for s in range(10)
    ]
    assert min(ours) < 1.05 * min(theirs)
    assert np.mean(ours) < 1.25 * np.mean(theirs)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 40), k=st.integers(1, 40), d=st.integers(1, 5), seed=st.integers(0, 999))
def test_lloyd_never_gets_worse_and_uses_the_nearest(n, k, d, seed):
    k = min(n, k)
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n, d, generator=generator, dtype=torch.float64)
    start = spread_start(points, k, generator)
    end = lloyd(points, start)
    label = nearest(points, end)
    by_hand = [min(range(k), key=lambda c, p=p: (p - end[c]).square().sum()) for p in points]
    chosen = (points - end[label]).square().sum()
    assert chosen <= (points - end[torch.tensor(by_hand)]).square().sum() * (1 + 1e-9) + 1e-12
    assert chosen <= (points - start[nearest(points, start)]).square().sum() + 1e-9


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(1, 8), st.integers(1, 5), st.integers(0, 1000))
def test_it_ends_where_lloyd_stands_still(n, k, d, seed):
    generator, k = torch.Generator().manual_seed(seed), min(k, n)
    points = torch.randn(n, d, generator=generator)
    means = lloyd(points, spread_start(points, k, generator))
    label = nearest(points, means)
    for cluster in range(k):
        if (label == cluster).any():
            torch.testing.assert_close(means[cluster], points[label == cluster].mean(0))


def test_blobs_are_found(generator):
    centres = torch.tensor([[0.0, 0], [20, 0], [0, 20], [20, 20]])
    points = centres.repeat(25, 1) + torch.randn(100, 2, generator=generator)
    label = kmeans(points, 4, generator)
    assert all(len(label[blob::4].unique()) == 1 for blob in range(4))


def test_an_empty_cluster_keeps_its_centre():
    points = torch.tensor([[0.0], [0.2], [10.0]])
    far = torch.tensor([[0.1], [10.0], [1e3]])
    assert lloyd(points, far)[2].item() == 1e3
    means = cluster_means(points, torch.tensor([0, 0, 0]), far)
    torch.testing.assert_close(means, torch.tensor([[10.2 / 3], [10.0], [1e3]]))


def test_equal_points_are_no_trouble(generator):
    label = kmeans(torch.ones(7, 3), 3, generator)
    assert label.shape == (7,)
    assert set(label.tolist()) == {0}


def test_the_start_prefers_what_is_far(generator):
    points = torch.cat([torch.zeros(99, 2), torch.ones(1, 2) * 9])
    starts = [spread_start(points, 2, generator) for _ in range(20)]
    assert all((start[0] != start[1]).any() for start in starts)


def test_the_seed_decides():
    points = blobs(100, 6, 3, 2.0, 0)
    first, second, other = (
        kmeans(points, 6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("k", [0, 4])
def test_more_clusters_than_points_are_refused(k, generator):
    with pytest.raises(ValueError, match=f"{k} clusters of 3 points"):
        kmeans(torch.rand(3, 2), k, generator)
