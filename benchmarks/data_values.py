"""What values of training interactions are good for: removing some, and training on noisy data.

Removal: BPR is trained again without the interactions of lowest, or highest, score, at several
shares. Scores whose lowest can go, and whose highest cannot, say which interactions matter. What
is removed at random says how many interactions matter.

Removed interactions have weight 0. So they are still known: their items are not ranked for their
user, and are no negatives, as for BPR on all data. Interactions that are left out of the files
(``values --write_clean --drop``) are ranked; the row "random, left out" says what that costs.

Noise: a share of the positives is replaced as in noise_detection.py. BPR is trained again with
weights that rise from 0 to 1 over the lowest scores (``values --write_clean --soft``), with weight
0 for the lowest, and without the lowest (``--drop``); all this by what was planted, too (oracle);
and by DVR, which weighs while it trains.

The scores, each of a run on the same interactions:

* dvr: values by the loss of the judges, dvr_loo: by the other training interactions; the runs'
  weights are all 1; dvr_amortised, dvr_loo_amortised: as ``dvr_amortise`` predicts these values;
* loss_run: minus the loss under BPR, averaged over all epochs;
* popularity: the number of training interactions of the item, without any model.

"Weight 0" and "left out" take as many interactions as there is noise. All runs stop early by the
untouched validation interactions (DVR with ndcg@20 by half of them), of which half have judged for
the scores dvr and dvr_amortised. Changes are of NDCG@20 on test against BPR on all of the same
data, seed by seed.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from valued import LEAVE_ONE_OUT, finish, parser, plant, scores_of, train

from recbole_enhance.data.rows import weigh_rows
from recbole_enhance.explanation.cleaned import SOFT, lowest, soft_weights
from recbole_enhance.leaderboard import statistics
from recbole_enhance.leaderboard.pictures import files

TASKS = ("removal", "noise")
SCORES = ("dvr", "dvr_loo", "dvr_amortised", "dvr_loo_amortised", "loss_run", "popularity")
ENDS = ("lowest", "highest")
SHARES = (0.05, 0.1, 0.2, 0.3)
JUDGED = {"dvr_reward": "loss", "dvr_strength": 0}
IN_TRAINING = {
    "DVR, ndcg@20, 0.2": {"dvr_reward": "ndcg@20", "dvr_strength": 0.2},
    "DVR, leave_one_out, 0.2": {**LEAVE_ONE_OUT, "dvr_strength": 0.2},
}

Change = Callable[[list[Any]], Any]
Row = dict[str, float]  # NDCG@20 on test of each run of one seed


def without(gone: np.ndarray, before: Change) -> Change:
    """Leave training interactions out. Shape of the mask: ``(interactions,)``."""

    def change(splits: list[Any]) -> None:
        before(splits)
        rows = splits[0].inter_feat
        splits[0] = splits[0].copy(rows[torch.from_numpy(~gone)])

    return change


def zeroed(gone: np.ndarray, before: Change) -> Change:
    """Give training interactions weight 0, the others 1. Shape: ``(interactions,)``."""
    return weighed((~gone).astype(float), before)


def weighed(weights: np.ndarray, before: Change) -> Change:
    """Give training interactions weights. Shape: ``(interactions,)``."""

    def change(splits: list[Any]) -> None:
        before(splits)
        weigh_rows(splits[0], torch.from_numpy(weights))

    return change


def judged(
    dataset: str, seed: int, args: Any, before: Change
) -> tuple[dict[str, np.ndarray], Row, Any]:
    """Scores of the training interactions; test of BPR on all of them; what ``before`` changed."""
    scores, runs = scores_of(dataset, seed, args, before, **JUDGED)
    plain = runs["bpr"]
    return {n: scores[n].numpy() for n in SCORES}, {"all": plain["test"]}, plain["changed"]


def removal(dataset: str, seed: int, args: Any) -> Row:
    """NDCG@20 without the lowest and the highest of each score, on clean data."""

    def before(splits: list[Any]) -> None:
        """Nothing is planted."""

    scores, row, _ = judged(dataset, seed, args, before)
    drawn = np.random.default_rng(seed).permutation(len(scores["dvr"]))
    for share in args.shares:
        for name, score in scores.items():
            for end in ENDS:
                gone = lowest(score if end == "lowest" else -score, share)
                key = f"{name} {end} {share:g}"
                row[key] = train(dataset, "BPR", seed, args, zeroed(gone, before))["test"]
        gone = lowest(drawn, share)
        for name, change in (("random", zeroed), ("random, left out", without)):
            key = f"{name} {share:g}"
            row[key] = train(dataset, "BPR", seed, args, change(gone, before))["test"]
    return row


def noise(dataset: str, seed: int, args: Any) -> Row:
    """NDCG@20 on noisy data with weights, with weight 0 for the lowest, and without them."""

    def before(splits: list[Any]) -> Any:
        return plant(splits, args.share, args.planted, seed)

    scores, row, noisy = judged(dataset, seed, args, before)

    def test(change: Change, model: str = "BPR", **own: Any) -> float:
        return train(dataset, model, seed, args, change, **own)["test"]

    drawn = np.random.default_rng(seed).permutation(len(noisy))
    for name, score in {**scores, "random": drawn}.items():
        gone = lowest(score, args.share)
        row[f"{name} soft"] = test(weighed(soft_weights(score, SOFT), before))
        row[f"{name} zero"] = test(zeroed(gone, before))
        row[f"{name} out"] = test(without(gone, before))
    row["oracle zero"] = test(zeroed(noisy.numpy(), before))
    row["oracle out"] = test(without(noisy.numpy(), before))
    for name, options in IN_TRAINING.items():
        row[f"{name} soft"] = test(before, "DVR", **options)
    return row


def changes(rows: list[Row], key: str) -> np.ndarray:
    """Of NDCG@20 against all data, as shares. Shape: ``(seeds,)``."""
    return np.array([row[key] / row["all"] - 1 for row in rows])


def cell(rows: list[Row], key: str) -> str:
    """Mean and standard deviation of the change, in percent."""
    if key not in rows[0]:
        return ""
    found = statistics.spread(changes(rows, key))
    around = f" ± {100 * found.deviation:.1f}" if len(rows) > 1 else ""
    return f"{100 * found.mean:+.1f}{around}"


def report(task: str, dataset: str, rows: list[Row], args: Any) -> list[str]:
    """Markdown lines of one task on one dataset."""
    base = statistics.spread([row["all"] for row in rows])
    said = (
        f"BPR on all data has NDCG@20 {base.mean:.4f}. Change against it in percent, mean ± "
        f"standard deviation over {base.n} seeds."
    )
    if task == "removal":
        head = [*(f"{share:.0%}".replace("%", " %") for share in args.shares)]
        lines = [f"{dataset}, removal from clean data. {said}", ""]
        lines += [f"| removed | {' | '.join(head)} |", "|---|" + "---|" * len(head)]
        names = [f"{name} {end}" for name in SCORES for end in ENDS]
        for name in ["random", "random, left out", *names]:
            cells = [cell(rows, f"{name} {share:g}") for share in args.shares]
            title = name if name.startswith("random") else name.replace(" ", ", ")
            lines.append(f"| {title} | {' | '.join(cells)} |")
        return ["", *lines]
    lines = [
        f"{dataset}, {args.share:.0%} of the positives replaced ({args.planted} items). {said}",
        "",
        f"| by | rising weights, lowest {SOFT:.0%} | weight 0, lowest {args.share:.0%} "
        "| left out |",
        "|---|---|---|---|",
    ]
    for name in ["random", *SCORES, "oracle", *IN_TRAINING]:
        cells = [cell(rows, f"{name} {how}") for how in ("soft", "zero", "out")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return ["", *(line.replace("0%", "0 %") for line in lines)]


def draw(figure: Any, rows: list[Row], dataset: str, shares: list[float]) -> None:
    """A removal curve of each score: dashed without the highest, solid without the lowest."""
    figure.set_size_inches(8, 4.5)
    axes = figure.add_subplot()
    places = [0, *(100 * share for share in shares)]

    def curve(name: str) -> list[float]:
        found = [changes(rows, f"{name} {share:g}").mean() for share in shares]
        return [0.0, *(100 * mean for mean in found)]

    axes.plot(places, curve("random"), color="black", linewidth=2.5, label="random")
    for number, name in enumerate(SCORES):
        for end, style in zip(ENDS, ("-", "--")):
            label = name if end == "lowest" else None
            axes.plot(places, curve(f"{name} {end}"), style, color=f"C{number}", label=label)
    axes.set_xlabel("% of the training interactions removed")
    axes.set_ylabel("change of NDCG@20 on test, %")
    axes.set_title(f"{dataset}: without the lowest (solid), without the highest (dashed)")
    axes.legend(loc="lower left", fontsize=8)


def last_line(task: str, dataset: str, rows: list[Row], share: float) -> str:
    """The line that is read by programs; of removal, at one share."""
    if task == "removal":
        kinds, others = [f"{end} {share:g}" for end in ENDS], [f"random {share:g}"]
    else:
        kinds, others = ["soft", "zero", "out"], ["oracle zero", "oracle out"]
    keys = [*(f"{name} {kind}" for name in SCORES for kind in kinds), *others]
    shown = [f"{key.replace(' ', '_')}={changes(rows, key).mean():+.4f}" for key in keys]
    about = f"benchmark=data_values task={task} dataset={dataset} seeds={len(rows)}"
    return f"{about} {' '.join(shown)}"


def write(out: Path, results: Mapping[str, Mapping[str, list[Row]]], args: Any) -> str:
    """Write the numbers, the tables and the pictures; the tables are returned."""
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    text = tables(results, args)
    out.with_suffix(".md").write_text(text, encoding="utf-8")
    for dataset, rows in results.get("removal", {}).items():
        picture = files(draw, rows, dataset, args.shares)["png"]
        out.with_name(f"{out.stem}_{dataset}.png").write_bytes(picture)
    return text


def tables(results: Mapping[str, Mapping[str, list[Row]]], args: Any) -> str:
    """Markdown of all that is finished."""
    found = [
        report(task, dataset, rows, args)
        for task, by_dataset in results.items()
        for dataset, rows in by_dataset.items()
    ]
    title = "# What values of training interactions are good for"
    return "\n".join([title, *(line for lines in found for line in lines), ""])


def main() -> None:
    made = parser(__doc__ or "", "2020,2021,2022", "ml-100k, one seed, 2 epochs, the last share")
    default = ",".join(map(str, SHARES))
    made.add_argument("--shares", default=default, help="that are removed; separated by commas")
    made.add_argument("--tasks", default=",".join(TASKS), help="separated by commas")
    args = made.parse_args()
    finish(made, args, 2)
    args.tasks = args.tasks.split(",")
    args.shares = [float(share) for share in args.shares.split(",")][-1 if args.quick else 0 :]
    if unknown := set(args.tasks) - set(TASKS):
        made.error(f"--tasks={','.join(sorted(unknown))}: of {', '.join(TASKS)}")
    run = {"removal": removal, "noise": noise}
    results: dict[str, dict[str, list[Row]]] = {task: {} for task in args.tasks}
    for seed in args.seeds:
        for task in args.tasks:
            for dataset in args.datasets:
                rows = results[task].setdefault(dataset, [])
                rows.append(run[task](dataset, seed, args))
                print(f"{task} on {dataset}, seed {seed}: done", flush=True)
                if args.out:
                    write(Path(args.out), results, args)
    print(tables(results, args))
    for task, by_dataset in results.items():
        for dataset, rows in by_dataset.items():
            print(last_line(task, dataset, rows, args.shares[-1]))


if __name__ == "__main__":
    main()
