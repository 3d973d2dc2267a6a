"""``explain --model=NAME`` of a run whose method is no user's own."""

import pytest

from recbole_enhance.explanation.explain import explain
from recbole_enhance.options.errors import InputError
from recbole_enhance.testing.worlds import run_toy


def test_a_method_of_ours_is_not_named_again(toy, tmp_path):
    run_toy(toy, "RVRec", backbone="BPR", run_dir=str(tmp_path / "run"))
    with pytest.raises(InputError, match=r"^model=010: .* is a run of RVRec$"):
        explain(tmp_path / "run", method="010", quiet=True)
