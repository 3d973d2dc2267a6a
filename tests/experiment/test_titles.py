from types import SimpleNamespace

import torch

from recbole_enhance.experiment.titles import names_of


def test_an_item_without_a_title_is_its_token(tmp_path):
    (tmp_path / "d.item").write_text('item_id:token\ttitle:token\ni1\t"Jaws" \ni2\t\n')
    dataset = SimpleNamespace(
        iid_field="item_id", id2token=lambda _, ids: [f"i{number}" for number in ids]
    )
    config = {
        "data_path": str(tmp_path),
        "dataset": "d",
        "field_separator": "\t",
        "encoding": None,
    }
    run = SimpleNamespace(test_data=SimpleNamespace(_dataset=dataset), config=config)
    tokens, titles = names_of(run, "auto", torch.tensor([[0, 1], [3, 2]]))
    assert tokens == {0: "", 1: "i1", 2: "i2", 3: "i3"}
    assert titles == {0: "", 1: '"Jaws" ', 2: "i2", 3: "i3"}
