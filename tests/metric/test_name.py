import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.metric import name
from recbole_enhance.metric.name import Metric


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("NDCG@20", Metric("ndcg", 20)),
        ("auc", Metric("auc")),
        ("ndcg@0", Metric("ndcg@0")),
        ("ndcg@x", Metric("ndcg@x")),
        ("ndcg@5@6", Metric("ndcg@5@6")),
        ("ndcg@²", Metric("ndcg@²")),
        (None, Metric("none")),
    ],
)
def test_what_is_no_length_belongs_to_the_name(text, metric):
    assert Metric.parse(text) == metric


@given(st.text("abc", min_size=1), st.integers(0, 10**6))
def test_a_metric_is_written_as_it_is_read(text, k):
    metric = Metric(text, k)
    assert Metric.parse(str(metric)) == metric


def test_examples():
    assert doctest.testmod(name).failed == 0
