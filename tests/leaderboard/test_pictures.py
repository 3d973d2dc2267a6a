"""Labels of a picture: none covers another or a point, and what is asked first has its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_enhance.leaderboard.pictures import _GAP, _LETTER, _LINE, label_places

POINTS = st.lists(
    st.tuples(st.floats(0, 1, width=16), st.floats(0, 1, width=16)), min_size=2, max_size=45
)


def boxes(points, lengths, places):
    """Corners of each label as they are drawn: left, bottom, right, top; None without a label."""
    points = np.asarray(points, float)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    at = (points - low) / np.where(span > 0, span, 1)
    made = []
    for p, length, corner in zip(at, lengths, places):
        if corner is None:
            made.append(None)
            continue
        near = [p[k] + _GAP * corner[k] for k in (0, 1)]
        far = [p[k] + (_GAP + size) * corner[k] for k, size in ((0, _LETTER * length), (1, _LINE))]
        made.append((*map(min, near, far), *map(max, near, far)))
    return at, made


@given(POINTS, st.integers(1, 20))
def test_no_label_covers_another_or_a_point(points, length):
    lengths = [length] * len(points)
    at, made = boxes(points, lengths, label_places(np.array(points), lengths))
    shown = [box for box in made if box is not None]
    assert shown
    for n, a in enumerate(shown):
        for b in shown[n + 1 :]:
            overlap = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            assert min(overlap) < 1e-9
        inside = (at[:, 0] > a[0]) & (at[:, 0] < a[2]) & (at[:, 1] > a[1]) & (at[:, 1] < a[3])
        assert not inside.any()


def test_what_comes_first_has_its_label_in_a_crowd():
    crowd = np.vstack([np.full((20, 2), 0.5), [[0, 0], [1, 1]]])
    for wanted in (3, 17):
        first = np.arange(22) == wanted
        places = label_places(crowd, [10] * 22, first)
        assert places[wanted] == (1, 1)
        assert places.count(None) > 10


def test_lonely_points_come_before_a_crowd():
    """The long labels of the two would leave the third no corner."""
    points = np.array([[0.5, 0.5], [0.5, 0.502], [0.8, 0.5], [0.0, 0.0], [1.0, 1.0]])
    places = label_places(points, [25, 25, 10, 1, 1])
    assert places[2] == (1, 1)
    assert places[:2].count((1, 1)) == 0


@pytest.mark.parametrize("wide", [0, 2])
def test_bars_widen_the_picture(wide):
    """Two labels that stand clear on the points' own span collide on a wider one."""
    points = np.array([[0.0, 0.0], [0.0, 0.1], [0.0, 1.0]])
    assert label_places(points, [10] * 3) == [(1, 1)] * 3
    errors = np.zeros((3, 2))
    errors[wide, 1] = 9.0
    assert label_places(points, [10] * 3, errors=errors) != [(1, 1)] * 3
