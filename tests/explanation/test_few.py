import logging

import pytest

from recbole_enhance.explanation.words import tell_few


@pytest.mark.parametrize(("pairs", "coverage", "told"), [(100, 0.5, 0), (100, 0.49, 1), (0, 0, 0)])
def test_few_explanations_are_told(caplog, pairs, coverage, told):
    with caplog.at_level(logging.WARNING, "recbole_enhance"):
        tell_few("RER-CER", pairs, coverage)
    assert len(caplog.messages) == told
    assert not told or caplog.messages[0].startswith("RER-CER: 49 of 100 pairs have an explanation")
