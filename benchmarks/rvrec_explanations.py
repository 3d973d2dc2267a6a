"""Whether RVRec's explanations say what the model does: in place of the paper's human judges.

Deletion: what the score of the first recommended item loses when the best coalition leaves the
history, against a random run of equal length of the same history, and against the same number of
single items by weight. Insertion: what it gains over the bare user vector with that alone. Curves:
the same with coalitions leaving or coming one after the other, best first or at random. Purity:
how often two items of a coalition share a category, against random runs of equal lengths.
Stability: how alike coalitions and best coalitions of two seeds are. Weights are always made anew
over what is left, as the model would. Every comparison is paired over users.
"""

import argparse
import csv
import itertools
import sys
from pathlib import Path

import numpy as np
import torch

from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import load_run, resume_run, run_recbole_enhance
from recbole_enhance.explanation.attribution import (
    asked_by,
    histories_of,
    scores_with,
    tables_of,
    without_coalition,
)
from recbole_enhance.leaderboard import statistics
from recbole_enhance.shapley import coalition as game
from recbole_enhance.storage.run_folder import CONFIG, recorded_options, refuse_changed_options

STEPS = 10  # of a curve


def trained(args, seed):
    """The run of a seed, trained if it is not there."""
    path = Path(args.out, args.dataset, f"{args.backbone}-{seed}")
    options = {
        "model": "RVRec",
        "backbone": args.backbone,
        "dataset": args.dataset,
        "seed": seed,
        "epochs": args.epochs,
        "eval_step": args.eval_step,
        "stopping_step": 3,
        "learning_rate": args.learning_rate,
    }
    if args.dataset != "ml-100k":
        options["data_path"] = args.data_path
    options.update(run_dir=str(path), quiet=True)
    if (path / CONFIG).is_file():
        recorded = recorded_options(Config(config_dict=options))
        try:
            refuse_changed_options(path, recorded, "take another --out")
        except ValueError as error:
            sys.exit(str(error))
        resume_run(path, quiet=True)
    else:
        run_recbole_enhance(config_dict=options)
    return load_run(path)


def values_of(model, tables, history, target):
    """Additive value of each coalition, and its size. Shapes: ``(users, H)``."""
    contribution = (tables.items[history.item] * tables.scored[target].unsqueeze(1)).sum(-1)
    a = model.rvrec.alpha * history.weights * contribution
    return game.sums_of_coalitions(a, history.ids, history.lengths)


def random_run(history, size, generator):
    """True for a random run of so many neighbours of each history. Shape: ``(users, H)``."""
    span = (history.lengths - size + 1).clamp(min=1)
    start = (torch.rand(len(size), generator=generator) * span).long()
    place = torch.arange(history.item.shape[1])
    return (place >= start.unsqueeze(1)) & (place < (start + size).unsqueeze(1))


def heaviest(history, size):
    """True for so many single items of the most weight. Shape: ``(users, H)``."""
    rank = history.weights.argsort(1, descending=True).argsort(1)
    return rank < size.unsqueeze(1)


def paired(name, ours, theirs, other):
    """One line: means, difference, and p of a t-test over users."""
    change = (ours - theirs).numpy()
    p = statistics.paired_t(change.astype(np.float64))[1]
    return {
        "measure": name,
        "users": len(change),
        "best coalition": ours.mean().item(),
        "against": other,
        "control": theirs.mean().item(),
        "difference": change.mean(),
        "p": p,
    }


@torch.no_grad()
def faithfulness(model, tables, users, history, target, generator):
    """Deletion and insertion of the best coalition, as rows of a table."""
    values, size = values_of(model, tables, history, target)
    best = values.masked_fill(size == 0, float("-inf")).argmax(1)
    chosen = history.ids == best.unsqueeze(1)
    there = torch.arange(history.item.shape[1]) < history.lengths.unsqueeze(1)
    chosen &= there
    n = chosen.sum(1)

    def score(weights):
        return scores_with(model, tables, users, weights, history.item, target)

    full, bare = score(history.weights), score(torch.zeros_like(history.weights))
    controls = {
        "a random run of equal length": random_run(history, n, generator) & there,
        "as many items of most weight": heaviest(history, n) & there,
    }
    rows = []
    for name, mask in controls.items():
        loss = [full - score(without_coalition(history.weights, m)) for m in (chosen, mask)]
        rows.append(paired("score lost by deletion", *loss, name))
        gain = [
            score(without_coalition(history.weights, there & ~m)) - bare for m in (chosen, mask)
        ]
        rows.append(paired("score gained by insertion", *gain, name))
    return rows, values, size


@torch.no_grad()
def curves(model, tables, users, history, target, values, size, generator):
    """Mean score, as a share of what the history adds, by share of coalitions gone or come."""
    noise = torch.rand(values.shape, generator=generator)
    keys = {"best first": values, "random order": noise}
    n_coalitions = (size > 0).sum(1)

    def score(weights):
        return scores_with(model, tables, users, weights, history.item, target)

    full, bare = score(history.weights), score(torch.zeros_like(history.weights))
    lift = (full - bare).mean()
    there = torch.arange(history.item.shape[1]) < history.lengths.unsqueeze(1)
    lines = []
    for name, key in keys.items():
        rank = key.masked_fill(size == 0, float("-inf")).argsort(1, descending=True).argsort(1)
        rank = rank.gather(1, history.ids)
        for step in range(STEPS + 1):
            gone = (rank < (n_coalitions * step / STEPS).round().long().unsqueeze(1)) & there
            kept = score(without_coalition(history.weights, gone))
            come = score(without_coalition(history.weights, there & ~gone))
            lines.append(
                {
                    "order": name,
                    "share of coalitions": step / STEPS,
                    "deletion": ((kept - bare).mean() / lift).item(),
                    "insertion": ((come - bare).mean() / lift).item(),
                }
            )
    return lines


def purity(history, categories, generator):
    """Share of neighbours inside coalitions that share a category, against random cuts."""
    place = torch.arange(history.item.shape[1] - 1)
    inner = place < (history.lengths - 1).unsqueeze(1)
    alike = (categories[history.item[:, :-1]] & categories[history.item[:, 1:]]).any(-1)
    joined = inner & (history.ids[:, 1:] == history.ids[:, :-1])
    per_user = joined.sum(1)
    some = per_user > 0
    # As many neighbours of the same history, at random.
    noise = torch.rand(inner.shape, generator=generator).masked_fill(~inner, 2.0)
    drawn = noise.argsort(1).argsort(1) < per_user.unsqueeze(1)
    ours = (alike & joined).sum(1)[some] / per_user[some]
    theirs = (alike & drawn).sum(1)[some] / per_user[some]
    if not some.any():
        return []
    row = paired(
        "neighbours in a coalition that share a category",
        ours.float(),
        theirs.float(),
        "as many neighbours at random",
    )
    return [row]


def agreement(first, second):
    """How alike two seeds cut and choose: of gates, and of the best coalition's items."""
    inner = torch.arange(first["ids"].shape[1] - 1) < (first["lengths"] - 1).unsqueeze(1)
    joined = [run["ids"][:, 1:] == run["ids"][:, :-1] for run in (first, second)]
    same = (joined[0] == joined[1])[inner].float().mean().item()
    by_chance = [j[inner].float().mean().item() for j in joined]
    chance = by_chance[0] * by_chance[1] + (1 - by_chance[0]) * (1 - by_chance[1])
    union = (first["best"] | second["best"]).sum(1).clamp(min=1)
    jaccard = ((first["best"] & second["best"]).sum(1) / union).mean().item()
    correlations = [
        np.corrcoef(a[:n], b[:n])[0, 1]
        for a, b, n in zip(
            first["weights"].numpy(), second["weights"].numpy(), first["lengths"].tolist()
        )
        if n > 2
    ]
    return same, chance, jaccard, float(np.nanmean(correlations))


def category_table(run):
    """Membership of items in categories, or None where the data have none. ``(items, c)``."""
    field, dataset = run.config["item_category_field"], run.train_data._dataset
    if not field:
        return None
    tokens = dataset.get_item_feature()[field]
    tokens = tokens.unsqueeze(1) if tokens.dim() == 1 else tokens
    table = torch.zeros(dataset.item_num, dataset.num(field), dtype=torch.bool)
    table[torch.arange(dataset.item_num).unsqueeze(1), tokens] = True
    table[:, 0] = False
    return table


def examine(run, args, generator):
    """Rows, curves and what stability needs, of one run."""
    model = run.trainer.model.eval()
    tables = tables_of(model)
    counts = model.rvrec.histories.counts
    users = (counts > 2).nonzero().squeeze(1)
    users = users[torch.randperm(len(users), generator=torch.Generator().manual_seed(0))]
    users = users[: args.users]
    history = histories_of(model, tables, users)
    scores = model.full_sort_predict({model.USER_ID: users}).view(len(users), -1).clone()
    scores[:, 0] = float("-inf")
    known = model.rvrec.histories.last(users, model.n_items)
    scores[known.row, known.item] = float("-inf")
    target = scores.argmax(1)
    history = asked_by(model, tables, history, target)
    rows, values, size = faithfulness(model, tables, users, history, target, generator)
    lines = curves(model, tables, users, history, target, values, size, generator)
    categories = category_table(run)
    if categories is not None:
        rows += purity(history, categories, generator)
    best = values.masked_fill(size == 0, float("-inf")).argmax(1)
    there = torch.arange(history.item.shape[1]) < history.lengths.unsqueeze(1)
    state = {
        "ids": history.ids,
        "lengths": history.lengths,
        "weights": history.weights,
        "best": (history.ids == best.unsqueeze(1)) & there,
    }
    n_coalitions = (size > 0).sum(1).float()
    about = {
        "alpha": model.rvrec.alpha.item(),
        "coalition size": (history.lengths / n_coalitions).mean().item(),
        "supported": (values.amax(1) > 0).float().mean().item(),
    }
    return rows, lines, state, about


def write(args, tables, lines, stability, abouts):
    """Write results/rvrec_explanations_<dataset>.md and the curves as CSV."""
    results = Path(args.results)
    results.mkdir(parents=True, exist_ok=True)
    name = f"rvrec_explanations_{args.dataset}"
    text = [
        f"# Faithfulness of RVRec's explanations on {args.dataset}",
        "",
        f"`{command(args)}`",
        "",
        f"{args.backbone}, {args.users} users at most with 3 items or more, the first "
        "recommended item of each; one row per seed; p of a paired t-test over users.",
        "",
        "| seed | measure | users | best coalition | control | control's value | difference | p |",
        "|---" * 8 + "|",
    ]
    for seed, rows in tables.items():
        text += [
            f"| {seed} | {r['measure']} | {r['users']} | {r['best coalition']:.4f} | "
            f"{r['against']} | {r['control']:.4f} | {r['difference']:+.4f} | {r['p']:.1e} |"
            for r in rows
        ]
    text += [
        "",
        "| seed | weight of histories, alpha | mean coalition size | users whose best "
        "coalition adds something |",
        "|---|---|---|---|",
    ]
    text += [
        f"| {seed} | {a['alpha']:.3f} | {a['coalition size']:.2f} | {a['supported']:.1%} |"
        for seed, a in abouts.items()
    ]
    if stability:
        text += [
            "",
            "| seeds | gates that agree | by chance | Jaccard of best coalitions | "
            "correlation of weights |",
            "|---|---|---|---|---|",
        ]
        text += [
            f"| {a}, {b} | {s[0]:.1%} | {s[1]:.1%} | {s[2]:.3f} | {s[3]:.3f} |"
            for (a, b), s in stability.items()
        ]
    deletion = {
        o: np.mean([r["deletion"] for r in lines if r["order"] == o])
        for o in ("best first", "random order")
    }
    insertion = {
        o: np.mean([r["insertion"] for r in lines if r["order"] == o])
        for o in ("best first", "random order")
    }
    text += [
        "",
        "Area under the curves, as shares of what the history adds: deletion (lower is "
        "more faithful) "
        + ", ".join(f"{o} {v:.3f}" for o, v in deletion.items())
        + "; insertion (higher) "
        + ", ".join(f"{o} {v:.3f}" for o, v in insertion.items())
        + ".",
        "",
    ]
    (results / f"{name}.md").write_text("\n".join(text), encoding="utf-8")
    with open(results / f"{name}_curves.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return deletion, insertion


def command(args):
    words = [
        "python benchmarks/rvrec_explanations.py",
        f"--dataset={args.dataset}",
        f"--backbone={args.backbone}",
        f"--epochs={args.epochs}",
        f"--learning_rate={args.learning_rate}",
        f"--seeds {' '.join(map(str, args.seeds))}",
    ]
    return " ".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--backbone", default="BPR")
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021, 2022])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--eval_step", type=int, default=3)
    parser.add_argument("--learning_rate", type=float, default=0.003)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="ml-100k, two seeds, 3 epochs")
    parser.add_argument("--out", default="runs/rvrec_explanations", help="run folders")
    parser.add_argument("--results", default="results", help="where the tables go")
    args = parser.parse_args()
    if args.quick:
        args.dataset, args.seeds, args.epochs = "ml-100k", args.seeds[:2], 3
    torch.set_num_threads(1)
    tables, lines, states, abouts = {}, [], {}, {}
    for seed in args.seeds:
        generator = torch.Generator().manual_seed(seed)
        rows, curve, states[seed], abouts[seed] = examine(trained(args, seed), args, generator)
        tables[seed] = rows
        lines += [{"seed": seed, **line} for line in curve]
        print(f"seed {seed}: {abouts[seed]}", flush=True)
    stability = {
        (a, b): agreement(states[a], states[b]) for a, b in itertools.combinations(args.seeds, 2)
    }
    deletion, insertion = write(args, tables, lines, stability, abouts)
    first = [rows[0] for rows in tables.values()]
    ours, control = (np.mean([r[k] for r in first]) for k in ("best coalition", "control"))
    print(
        f"benchmark=rvrec_explanations dataset={args.dataset} deletion={ours:.4f} "
        f"random_run={control:.4f} auc_deletion={deletion['best first']:.3f} "
        f"auc_insertion={insertion['best first']:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
