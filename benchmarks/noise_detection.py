"""Do low values find planted noise? DVR's values against the loss of each interaction.

A share of the training positives is replaced by items that the user has in no split, drawn evenly
or by their popularity. Then DVR over BPR, and BPR alone, are trained on the noisy split with early
stopping on the untouched validation split. Detectors, each scoring every training interaction:

* dvr: minus its value, as the trainer keeps it at the end of training;
* dvr_loo: minus its value by the other training interactions, in a run whose weights are all 1;
* dvr_amortised, dvr_loo_amortised: minus the value that ``dvr_amortise`` gives it in these runs,
  which is predicted of its loss in the run and of popularity and activity;
* loss: its loss under plain BPR, averaged over the last epochs (the criterion of TCE);
* loss_run: the same, averaged over all epochs;
* popularity: minus the number of training interactions of its item, without any model.

The samplers are built after planting: a planted item is never its user's negative, and a positive
that was replaced can be drawn as one, as with real noise.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from sklearn.metrics import average_precision_score, roc_auc_score
from valued import finish, parser, plant, scores_of

from recbole_enhance.leaderboard import statistics
from recbole_enhance.options.read import parse_argv

VALUED = ("dvr", "dvr_loo", "dvr_amortised", "dvr_loo_amortised")
DETECTORS = (*VALUED, "loss", "loss_run", "popularity")


def detect(dataset: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """The runs of one seed, and how well each detector finds what was planted."""

    def noise(splits: list[Any]) -> Any:
        return plant(splits, args.share, args.planted, seed)

    scores, runs = scores_of(dataset, seed, args, noise, args.options)
    noisy = runs["bpr"]["changed"]
    row: dict[str, float] = {"seed": seed}
    for name, score in scores.items():
        row[f"auc_{name}"] = float(roc_auc_score(noisy, -score))
        row[f"ap_{name}"] = float(average_precision_score(noisy, -score))
    for name in ("dvr", "bpr"):
        row.update({f"{key}_{name}": runs[name][key] for key in ("valid", "test", "epochs")})
    return row


def summary(rows: list[dict[str, float]], key: str) -> statistics.Spread:
    """Mean and standard deviation over seeds."""
    return statistics.spread([row[key] for row in rows])


def report(dataset: str, rows: list[dict[str, float]], share: float) -> list[str]:
    """Markdown lines of one dataset."""
    lines = [
        "",
        f"{dataset}: {share:.0%} of the training positives replaced; mean ± standard deviation "
        f"over {len(rows)} seeds.",
        "",
        "| detector | AUC | average precision |",
        "|---|---|---|",
    ]
    for name in DETECTORS:
        found = [summary(rows, f"{metric}_{name}") for metric in ("auc", "ap")]
        cells = [f"{s.mean:.3f} ± {s.deviation:.3f}" for s in found]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [f"| chance | 0.500 | {share:.3f} |", ""]
    lines += ["| on the noisy data | valid NDCG@20 | test NDCG@20 | epochs |", "|---|---|---|---|"]
    for name, label in (("bpr", "BPR"), ("dvr", "DVR-BPR")):
        found = [summary(rows, f"{part}_{name}") for part in ("valid", "test")]
        cells = [f"{s.mean:.4f} ± {s.deviation:.4f}" for s in found]
        epochs = summary(rows, f"epochs_{name}").mean
        lines.append(f"| {label} | {' | '.join(cells)} | {epochs:.0f} |")
    return lines


def parse_args() -> argparse.Namespace:
    made = parser(
        __doc__ or "",
        "2020,2021,2022",
        "ml-100k, one seed, 4 epochs",
        epilog="Any --dvr_*=value goes to DVR.",
    )
    args, extra = made.parse_known_args()
    finish(made, args, 4)
    try:
        args.options = parse_argv(extra)
    except ValueError as error:
        made.error(str(error))
    foreign = [key for key in args.options if not key.startswith("dvr_")]
    if foreign:
        made.error(f"--{foreign[0]}: no option of this script, and none of DVR")
    return args


def main() -> None:
    args = parse_args()
    results: dict[str, Any] = {
        "share": args.share,
        "planted": args.planted,
        "options": args.options,
        "datasets": {},
    }
    for dataset in args.datasets:
        rows = results["datasets"][dataset] = []
        for seed in args.seeds:
            rows.append(detect(dataset, seed, args))
            found = [f"AUC {name} {rows[-1]['auc_' + name]:.3f}" for name in DETECTORS]
            print(f"{dataset} seed {seed}: {', '.join(found)}", flush=True)
            if args.out:
                Path(args.out).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    title = f"# Planted noise ({args.planted} items): who finds it?"
    tables = [report(dataset, rows, args.share) for dataset, rows in results["datasets"].items()]
    text = "\n".join([title, *(line for table in tables for line in table), ""])
    print(text)
    if args.out:
        Path(args.out).with_suffix(".md").write_text(text, encoding="utf-8")
    for dataset, rows in results["datasets"].items():
        numbers = {
            f"{m}_{name}": summary(rows, f"{m}_{name}").mean
            for m in ("auc", "ap")
            for name in ("dvr", "loss")
        }
        for name in ("loss_run", "popularity", "dvr_loo", "dvr_amortised", "dvr_loo_amortised"):
            numbers[f"auc_{name}"] = summary(rows, f"auc_{name}").mean
        print(
            f"benchmark=noise_detection dataset={dataset} "
            + " ".join(f"{key}={value:.3f}" for key, value in numbers.items())
            + f" planted={args.planted}"
        )


if __name__ == "__main__":
    main()
