"""GroupGap of one model on the validation and on the test data, with and without the other part.

When validation items are ranked, the user's test items are among the candidates; when test items
are, validation items are left out. Active users have more items in either part. BPR on ml-100k,
groups by activity and gender, 50 epochs, no early stopping.
"""

import sys
from statistics import fmean

from turns import assembled, parser

from recbole_enhance.data.loaders import FullRankingLoader

METRICS = ("ndcg@20", "groupgap@20")
RANKINGS = ("valid", "valid_without_test", "test_with_valid", "test")


def results(threads: int, seed: int, epochs: int) -> dict[str, dict[str, float]]:
    """Ranking -> metric -> value, of one trained model."""
    columns = {
        "inter": ["user_id", "item_id", "rating", "timestamp"],
        "user": ["user_id", "gender"],
    }
    run = assembled(
        threads,
        model="BPR",
        dataset="ml-100k",
        learning_rate=0.002,
        epochs=epochs,
        eval_step=epochs,
        seed=seed,
        topk=[20],
        metrics=["NDCG", "GroupGap"],
        valid_metric="NDCG@20",
        group_fields=["activity", "gender"],
        load_col=columns,
    )
    run.trainer.fit(run.train_data, run.valid_data, saved=False, show_progress=False)
    train, valid, test = (
        loader._dataset for loader in (run.train_data, run.valid_data, run.test_data)
    )
    rankings = ((valid, [train]), (valid, [train, test]), (test, [train]), (test, [train, valid]))
    return {
        name: dict(run.trainer.evaluate(FullRankingLoader(run.config, part, known)))
        for name, (part, known) in zip(RANKINGS, rankings)
    }


def main() -> int:
    """Print a table and the line that is read by programs."""
    options = parser(__doc__ or "", "one seed and two epochs")
    options.add_argument("--seeds", type=int, default=3)
    args = options.parse_args()
    seeds, epochs = (1, 2) if args.quick else (args.seeds, 50)
    found = [results(args.threads, 2020 + n, epochs) for n in range(seeds)]
    print(f"| ranking | {' | '.join(METRICS)} | of each seed |\n|---|---|---|---|")
    gaps = {}
    for name in RANKINGS:
        columns = [[one[name][metric] for one in found] for metric in METRICS]
        gaps[name] = fmean(columns[1])
        means = " | ".join(f"{fmean(column):.4f}" for column in columns)
        print(f"| {name} | {means} | {', '.join(f'{gap:.4f}' for gap in columns[1])} |")
    shown = " ".join(f"{name}={gap:.4f}" for name, gap in gaps.items())
    print(f"benchmark=held_out_gap seeds={seeds} {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
