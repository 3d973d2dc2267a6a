r"""Are values better with pairs in them? In-run Shapley values of first and second order.

The game of a batch is the change of a utility U by the step that a coalition makes,

    v(S) = U(theta - eta/|B| H sum of g_m over m in S) - U(theta).

DVR's values are Shapley's to first order. To second order a pair of samples has an interaction,
(eta/|B|)^2 g_m H (Hessian of U) H g_n, of which each has a half. All halves of one sample together
are a product with the step of the whole batch, so the values of second order are those of first
order with the gradient of U in the middle of the step: one more gradient of U, and of the batch's
loss, for every step, whatever the number of pairs. Momentum is left out, as in values of first
order. With leave_one_out, the sample's own part is corrected to first order.

First table: both against Shapley's values by all 256 coalitions of 8 samples, for a trained BPR,
its Adam and the loss of held-out interactions. The part of a sample in the step is that of
training, a share of a batch of 2048, and longer ones; 256 times is a batch of these 8 alone.
Second table: the sums of the values of whole batches of 2048, which should be the change of U.
Third table: planted noise as in noise_detection.py, found by both. Values of first order are
measured by one gradient of U per epoch, and by one per step as those of second order are.
"""

import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from turns import assembled
from valued import LEAVE_ONE_OUT, finish, parser, plant, train

from recbole_enhance.enhancer.dvr.in_run import InRunTrainer
from recbole_enhance.shapley.games import shapley_values
from recbole_enhance.shapley.in_run import step_sizes
from recbole_enhance.storage.random_state import kept_random_state

SAMPLES = 8  # whose coalitions are all tried
BATCH = 2048
LONGER = (1, 16, 256, 4096)  # times the step of training
UTILITIES = {"judges": {"dvr_reward": "loss", "dvr_strength": 0}, "leave_one_out": LEAVE_ONE_OUT}


# ---- all coalitions of small batches ---------------------------------------------------------


class Step(NamedTuple):
    """A step of BPR whose coalitions are tried.

    Attributes:
        tables: Of users and items, one below the other. Shape: ``(users + items, dim)``, float64.
        n_users: Rows of users.
        sizes: How far a unit of gradient moves each coordinate. The tables' shape.
        held_out: User, item and negative of the utility. Shape: ``(3, judges)``.
    """

    tables: Tensor
    n_users: int
    sizes: Tensor
    held_out: Tensor

    def losses(self, tables: Tensor, triplets: Tensor) -> Tensor:
        """BPR's loss of each triplet. Shape: ``(triplets,)``."""
        users, items, negatives = triplets
        positive, negative = tables[self.n_users + items], tables[self.n_users + negatives]
        margins = (tables[users] * (positive - negative)).sum(1)
        return torch.nn.functional.softplus(-margins)

    def utility(self, change: Tensor) -> Tensor:
        """Of the tables after a change."""
        return -self.losses(self.tables + change, self.held_out).mean()

    def slope(self, change: Tensor) -> Tensor:
        """Gradient of the utility there. The tables' shape."""
        change = change.clone().requires_grad_()
        return torch.autograd.grad(self.utility(change), change)[0]

    def gradients(self, triplets: Tensor) -> Tensor:
        """Of each triplet's loss. Shape: ``(triplets, *tables)``."""
        tables = self.tables.clone().requires_grad_()
        losses = self.losses(tables, triplets)
        return torch.stack(
            [torch.autograd.grad(loss, tables, retain_graph=True)[0] for loss in losses]
        )


def values_of(step: Step, triplets: Tensor, longer: float) -> tuple[Tensor, Tensor, Tensor]:
    """Shapley's values by all coalitions, of first order and of second. Shape: ``(triplets,)``."""
    moves = -longer / BATCH * step.sizes * step.gradients(triplets)

    def game(coalitions: Tensor) -> Tensor:
        changes = torch.einsum("cm,mrd->crd", coalitions.double(), moves)
        return torch.stack([step.utility(change) for change in changes])

    with torch.no_grad():
        exact = shapley_values(game, len(moves))
    places = (torch.zeros_like(step.tables), moves.sum(0) / 2)
    first, second = ((moves * step.slope(place)).sum((1, 2)) for place in places)
    return exact, first, second


def sums_of(step: Step, triplets: Tensor) -> tuple[float, float, float]:
    """Change of the utility by a batch's step, and the sums of values of both orders."""
    tables = step.tables.clone().requires_grad_()
    gradient = torch.autograd.grad(step.losses(tables, triplets).mean(), tables)[0]
    move, nowhere = -step.sizes * gradient, torch.zeros_like(gradient)
    change = step.utility(move) - step.utility(nowhere)
    first, second = ((move * step.slope(place)).sum() for place in (nowhere, move / 2))
    return float(change), float(first), float(second)


def trained_step(args: Any, seed: int, epochs: int) -> tuple[Step, Tensor, Tensor]:
    """BPR on ml-100k after some epochs, and samples and batches of it. Shape: ``(n, 3, size)``."""
    run = assembled(args.threads, model="BPR", dataset="ml-100k", epochs=epochs, seed=seed)
    run.trainer.fit(run.train_data, None, saved=False, show_progress=False)
    parameters = [run.trainer.model.user_embedding.weight, run.trainer.model.item_embedding.weight]
    sizes = step_sizes(run.trainer.optimizer)
    generator = torch.Generator().manual_seed(seed)

    def triplets(rows: Any, n: int) -> Tensor:
        chosen = torch.randint(len(rows), (n,), generator=generator)
        negatives = torch.randint(1, run.train_data._dataset.item_num, (n,), generator=generator)
        return torch.stack([rows["user_id"][chosen], rows["item_id"][chosen], negatives])

    step = Step(
        torch.cat([x.detach().double() for x in parameters]),
        len(parameters[0]),
        torch.cat([torch.as_tensor(sizes[x]).expand_as(x).double() for x in parameters]),
        triplets(run.valid_data._dataset.inter_feat, 5000),
    )
    rows = run.train_data._dataset.inter_feat
    drawn = [
        torch.stack([triplets(rows, size) for _ in range(args.batches)])
        for size in (SAMPLES, BATCH)
    ]
    return step, drawn[0], drawn[1]


def agreement(step: Step, batches: Tensor) -> list[dict[str, float]]:
    """Of values of both orders with the exact ones, for each length of the step."""
    rows = []
    for longer in LONGER:
        found = [values_of(step, batch, longer) for batch in batches]
        row: dict[str, float] = {"longer": longer}
        for order, name in ((1, "first"), (2, "second")):
            pairs = [(values[0], values[order]) for values in found]
            correlations = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs]
            errors = [(b - a).norm() / a.norm() for a, b in pairs]
            row[f"r_{name}"] = float(torch.stack(correlations).median())
            row[f"error_{name}"] = float(torch.stack(errors).median())
        rows.append(row)
    return rows


# ---- planted noise ---------------------------------------------------------------------------


class MiddleTrainer(InRunTrainer):
    """Values of second order: the gradient of the utility in the middle of each step."""

    def _valued_loss(self, batch: Any) -> Any:
        sizes = step_sizes(self.optimizer)
        moves: list[tuple[Tensor, Tensor]] = []
        if sizes:
            with kept_random_state():
                loss = self.model.calculate_loss(batch)
            parameters = list(self.model.parameters())
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            moves = [(p, sizes[p] * g) for p, g in zip(parameters, gradients) if g is not None]
        before = [p.detach().clone() for p, _ in moves]
        with torch.no_grad():
            for parameter, move in moves:
                parameter -= move / 2
        self._refresh()
        with torch.no_grad():
            for (parameter, _), value in zip(moves, before):
                parameter.copy_(value)
        self._steps = 1  # not again
        return super()._valued_loss(batch)


# What makes values of each order.
ORDERS: dict[str, dict[str, Any]] = {
    "first, each epoch": {},
    "first, each step": {"dvr_refresh_steps": 1},
    "second": {"make": MiddleTrainer},
}


def found_noise(dataset: str, seed: int, args: Any) -> dict[str, float]:
    """AUC of low values, for each utility and order."""
    row: dict[str, float] = {"seed": seed}
    for utility, options in UTILITIES.items():
        for order, own in ORDERS.items():
            run = train(
                dataset,
                "DVR",
                seed,
                args,
                lambda splits: plant(splits, args.share, args.planted, seed),
                **{**options, **own},
            )
            row[f"{utility}, {order}"] = float(roc_auc_score(run["changed"], -run["value"]))
    return row


# ---- report ----------------------------------------------------------------------------------


def tables(
    exact: list[dict[str, float]],
    sums: list[tuple[float, float, float]],
    found: dict[str, list[dict[str, float]]],
) -> str:
    """Markdown of all three."""
    lines = [
        "# In-run Shapley values of first and second order",
        "",
        "Against all coalitions of 8 samples, median over draws; error: norm of the difference "
        "over that of the exact values.",
        "",
        "| step of a sample, times that of training | r, first | second | error, first | second |",
        "|---|---|---|---|---|",
    ]
    for row in exact:
        cells = [
            f"{row[f'{k}_{name}']:.4f}" for k in ("r", "error") for name in ("first", "second")
        ]
        lines.append(f"| {row['longer']:g} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Sums of values of whole batches of {BATCH}, over the change of the utility.",
        "",
    ]
    lines += ["| | mean | smallest | largest |", "|---|---|---|---|"]
    for place, name in ((1, "first"), (2, "second")):
        shares = [values[place] / values[0] for values in sums]
        cells = [f"{share:.3f}" for share in (fmean(shares), min(shares), max(shares))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for dataset, rows in found.items():
        lines += [
            "",
            f"{dataset}: AUC of low values for planted noise (seeds: {len(rows)}).",
            "",
            "| utility | " + " | ".join(ORDERS) + " |",
            "|---|" + "---|" * len(ORDERS),
        ]
        for utility in UTILITIES:
            means = [fmean(row[f"{utility}, {order}"] for row in rows) for order in ORDERS]
            cells = [f"{mean:.3f}" for mean in means]
            lines.append(f"| {utility} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def write(
    out: Path,
    exact: list[dict[str, float]],
    sums: list[tuple[float, float, float]],
    found: dict[str, list[dict[str, float]]],
) -> None:
    """Write the numbers, and the tables beside them."""
    numbers = {"exact": exact, "sums": sums, "noise": found}
    out.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    out.with_suffix(".md").write_text(tables(exact, sums, found), encoding="utf-8")


def main() -> int:
    """Print the tables and the lines that are read by programs."""
    made = parser(__doc__ or "", "2020,2021,2022", "ml-100k, one seed, 2 epochs, 2 draws")
    made.set_defaults(datasets="ml-100k")
    made.add_argument("--batches", type=int, default=20, help="draws of samples, and of batches")
    args = made.parse_args()
    finish(made, args, 2)
    if args.quick:
        args.batches = 2
    step, samples, batches = trained_step(args, args.seeds[0], 2 if args.quick else 20)
    exact, sums = agreement(step, samples), [sums_of(step, batch) for batch in batches]
    found: dict[str, list[dict[str, float]]] = {}
    for dataset in args.datasets:
        for seed in args.seeds:
            found.setdefault(dataset, []).append(found_noise(dataset, seed, args))
            print(f"{dataset} seed {seed}: {found[dataset][-1]}", flush=True)
            if args.out:
                write(Path(args.out), exact, sums, found)
    print(tables(exact, sums, found))
    for dataset, rows in found.items():
        auc = {
            key.replace(", ", "_").replace(" ", "_"): np.mean([row[key] for row in rows])
            for key in rows[0]
            if key != "seed"
        }
        shown = " ".join(f"{key}={value:.3f}" for key, value in auc.items())
        print(
            f"benchmark=second_order dataset={dataset} seeds={len(rows)} "
            f"r_first={exact[-1]['r_first']:.4f} r_second={exact[-1]['r_second']:.4f} {shown}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
