"""Which backbones IaCN takes, found out by running them: `python tests/iacn_backbones.py`.

Writes results/iacn_backbones.md, which docs/papers/iacn.md links; a test runs the same.
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import recbole
import torch

from recbole_enhance.enhancer.iacn.method import BACKBONES
from recbole_enhance.experiment import quick_start
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.read import load_yaml
from recbole_enhance.testing.worlds import TOY, write_toy

RESULTS = Path(__file__).parents[1] / "results"
STEPS, DELTA = 6, 0.3
SMALL = {
    "hidden_size": 16,
    "inner_size": 32,
    "mlp_hidden_size": [16, 16],
    "n_layers": 1,
    "embedding_size": 8,
    "layers": 1,
    "block_num": 1,
    "cin_layer_size": [8, 8],
}
OWN = {
    "FDSA": {"selected_features": ["genres"]},
    "GRU4RecF": {"selected_features": ["genres"]},
    "SASRecF": {"selected_features": ["genres"]},
    "FEARec": {"n_layers": 2},
}
PROPERTIES = Path(recbole.__file__).parent / "properties" / "model"


def options_of(folder, backbone, **options):
    """A small model of a backbone on the toy data, evaluated as RecBole evaluates its kind."""
    known = load_yaml(PROPERTIES / f"{backbone}.yaml")
    small = {k: v for k, v in SMALL.items() if k in known and isinstance(v, type(known[k]))}
    world = {k: v for k, v in TOY.items() if k not in ("metrics", "valid_metric", "topk")}
    world.pop("embedding_size")
    return {
        **world,
        **small,
        **OWN.get(backbone, {}),
        "model": "IaCN",
        "backbone": backbone,
        "data_path": str(folder),
        "item_category_field": None,
        "show_progress": False,
        "MAX_ITEM_LIST_LENGTH": 10,
        "train_batch_size": 100,
        **options,
    }


def built(options, plain=False):
    """Put a run together; ``plain`` without the method, but on the same data."""
    config = Config(config_dict=options)
    if plain:
        config.method = replace(config.method, wrap=None, trainer=None)
    return quick_start.assemble(config)


def trained(options, plain=False):
    """Parameters and test scores after some optimiser steps."""
    run = built(options, plain)
    batches = list(run.train_data)[:STEPS]
    run.trainer._train_epoch(batches, 0)
    model = run.trainer.model.eval()
    with torch.no_grad():
        scores = model.predict(batches[0].to(model.device))
    return model.state_dict(), scores, run


def gradients(folder, backbone, delta):
    """Gradients of both losses in the auxiliary part, for one batch."""
    run = built(options_of(folder, backbone, iacn_delta=delta))
    batch = next(iter(run.train_data))
    model = run.trainer.model
    torch.manual_seed(0)
    losses = model.calculate_loss(batch)
    table = model.iacn_table[0]
    found = []
    for part in (sum(losses[:-1]), losses[-1]):
        g = None
        if part.requires_grad:
            (g,) = torch.autograd.grad(part, table.raw, retain_graph=True, allow_unused=True)
        g = torch.zeros_like(table.raw) if g is None else g
        last = table.first_row + table.n_items
        found.append(g[table.first_row : last, -table.aux_size :])
    return (*found, run, batch)


def examine(folder, backbone):
    """One row of the table."""
    neutral = {"iacn_delta": 1.0, "iacn_aux_init_scale": 0.0}
    plain_state, plain_scores, plain = trained(options_of(folder, backbone, **neutral), plain=True)
    state, scores, run = trained(options_of(folder, backbone, **neutral))
    same = torch.equal(plain_scores, scores) and all(
        torch.equal(value, state[name]) for name, value in plain_state.items()
    )
    start = built(options_of(folder, backbone), plain=True).trainer.model.state_dict()
    moved = any(not torch.equal(start[name], value) for name, value in plain_state.items())
    main, auxiliary, _, batch = gradients(folder, backbone, DELTA)
    only_main, no_auxiliary, *_ = gradients(folder, backbone, 1.0)
    no_main, only_auxiliary, *_ = gradients(folder, backbone, 0.0)
    scale = only_main.abs().max().item(), only_auxiliary.abs().max().item()
    linear = (
        torch.allclose(main, DELTA * only_main, rtol=1e-4, atol=1e-5 * scale[0])
        and torch.allclose(auxiliary, (1 - DELTA) * only_auxiliary, rtol=1e-4, atol=1e-5 * scale[1])
        and not no_main.any()
        and not no_auxiliary.any()
        and min(scale) > 0
    )
    fields = run.trainer.model._iacn_fields
    kind = "CE"
    if fields["negative"] in batch:
        kind = "BPR"
    elif fields["label"] is not None and fields["label"] in batch:
        kind = "BCE"
    size = run.trainer.model.iacn_table[0].aux_size
    extra = sum(p.numel() for p in run.trainer.model.parameters()) - sum(
        p.numel() for p in plain.trainer.model.parameters()
    )
    return {
        "backbone": backbone,
        "loss": kind,
        "same": same and moved,
        "linear": linear,
        "size": f"{size} of {run.trainer.model.iacn_table[0].embedding_dim}",
        "extra": extra,
        "square": extra == size**2,
    }


def main():
    folder = write_toy(Path(tempfile.mkdtemp()))
    names = sys.argv[1:] or BACKBONES
    lines = [
        "# Backbones of IaCN",
        "",
        "`python tests/iacn_backbones.py`",
        "",
        "On a small planted world. Neutral: with delta = 1 every parameter and every score is the "
        f"plain backbone's, bit for bit, after {STEPS} optimiser steps with lambda = 1. Linear: at "
        f"delta = {DELTA} the interest part's gradients are delta and 1 - delta of those at 1 and "
        "0, which are zero at the other end. Auxiliary: the loss that fits the backbone's batches.",
        "",
        "| backbone | auxiliary | interest part | neutral | linear | more parameters |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        row = examine(folder, name)
        yes = ["no", "yes"]
        lines.append(
            f"| {name} | {row['loss']} | {row['size']} | {yes[row['same']]} "
            f"| {yes[row['linear']]} | {row['extra']} |"
        )
        print(lines[-1], flush=True)
    if not sys.argv[1:]:
        text = "\n".join([*lines, ""])
        (RESULTS / "iacn_backbones.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
