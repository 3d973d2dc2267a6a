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

import numpy as np
import torch
from recbole.data import create_dataset
from recbole.utils import init_seed
from sklearn.metrics import average_precision_score, roc_auc_score

from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.data.rows import ROW_ID, number_rows
from recbole_enhance.experiment.config import Config
from recbole_enhance.leaderboard import statistics
from recbole_enhance.options.read import parse_argv
from recbole_enhance.training.losses import per_sample
from recbole_enhance.training.trainer import make_trainer

VALUED = ("dvr", "dvr_loo", "dvr_amortised", "dvr_loo_amortised")
DETECTORS = (*VALUED, "loss", "loss_run", "popularity")
PLANTED = ("uniform", "popular")
LEAVE_ONE_OUT = {"dvr_utility": "leave_one_out", "dvr_strength": 0}
BUDGET = {
    "ml-100k": {"train_batch_size": 2048, "epochs": 40, "eval_step": 2, "learning_rate": 0.002},
    "amazon-beauty": {
        "train_batch_size": 5000,
        "epochs": 20,
        "eval_step": 5,
        "learning_rate": 0.005,
    },
}
STOPPING_STEP = 3


def plant(splits: list[Any], share: float, planted: str, seed: int) -> torch.Tensor:
    """Replace items of the training split by items that their users have in no split.

    Args:
        splits: Training, validation and test datasets; the first is changed.
        share: Of the training interactions.
        planted: ``uniform``: all items alike; ``popular``: by their training interactions.
        seed: Of the choice.

    Returns:
        True where an interaction was replaced. Shape: ``(interactions,)``.
    """
    rng = np.random.default_rng(seed)
    uid, iid, n_items = splits[0].uid_field, splits[0].iid_field, splits[0].item_num
    pairs = [(split.inter_feat[uid].numpy(), split.inter_feat[iid].numpy()) for split in splits]
    known = np.unique(np.concatenate([user * n_items + item for user, item in pairs]))
    users, items = pairs[0][0], pairs[0][1].copy()
    chosen = rng.choice(len(users), round(share * len(users)), replace=False)
    open_rows = chosen
    while len(open_rows):  # draw again what is known or was drawn before; a few turns
        if planted == "popular":
            items[open_rows] = rng.choice(pairs[0][1], len(open_rows))
        else:
            items[open_rows] = rng.integers(1, n_items, len(open_rows))
        keys = users[chosen] * n_items + items[chosen]
        first = np.zeros(len(chosen), dtype=bool)
        first[np.unique(keys, return_index=True)[1]] = True
        open_rows = chosen[np.isin(keys, known) | ~first]
    splits[0].inter_feat[iid] = torch.from_numpy(items)
    noisy = torch.zeros(len(users), dtype=torch.bool)
    noisy[torch.from_numpy(chosen)] = True
    return noisy


class LossRecorder:
    """Loss of each training interaction in each epoch, seen at the model's loss module.

    Args:
        trainer: A trainer of BPR, with DVR or without.
        n_rows: Number of training interactions.
    """

    def __init__(self, trainer: Any, n_rows: int) -> None:
        self.trainer, self.n_rows = trainer, n_rows
        self.epochs: list[torch.Tensor] = []
        model, calculate_loss = trainer.model, trainer.model.calculate_loss

        def with_rows(interaction: Any) -> torch.Tensor:
            trained = model.training and ROW_ID in interaction
            self._rows = interaction[ROW_ID] if trained else None
            return calculate_loss(interaction)

        model.calculate_loss = with_rows
        model.loss.register_forward_hook(self._see)

    @torch.no_grad()
    def _see(self, module: Any, scores: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
        if self._rows is None:
            return  # a utility measures the loss of its judges
        if len(self.epochs) == len(self.trainer.history):  # the first batch of an epoch
            self.epochs.append(torch.zeros(self.n_rows))
        losses = per_sample(getattr(module, "module", module), *scores)
        self.epochs[-1][self._rows.cpu()] = losses.float().cpu()

    def mean(self, last: int) -> torch.Tensor:
        """Mean over the last epochs. Shape: ``(interactions,)``."""
        return torch.stack(self.epochs[-last:]).mean(0)


def train(
    dataset: str, model: str, seed: int, args: argparse.Namespace, **own: Any
) -> dict[str, Any]:
    """Train on a noisy split.

    Returns:
        ``noisy``, ``loss``, ``loss_run``, ``popularity`` and, with DVR, ``value`` of each
        interaction; valid and test NDCG@20.
    """
    options = {
        "model": model,
        "dataset": dataset,
        "data_path": args.data_path,
        "seed": seed,
        "embedding_size": 64,
        "show_progress": False,
        "stopping_step": STOPPING_STEP,
        "eval_batch_size": 2**24,
        "metrics": ["NDCG", "Recall"],
        **BUDGET[dataset],
        **({"epochs": args.epochs} if args.epochs else {}),
        **own,
    }
    said = args.options if model == "DVR" and not own else {}
    config = Config(config_dict=options, command_line=said)
    config["checkpoint_dir"] = "."
    init_seed(seed, config["reproducibility"])
    whole = create_dataset(config)
    splits = whole.build()
    noisy = plant(splits, args.share, args.planted, seed)
    whole.build = lambda: splits  # so that the samplers below are built of the noisy split
    train_data, valid_data, test_data = prepare_data(config, whole)
    number_rows(train_data)
    init_seed(seed, config["reproducibility"])
    trainer = make_trainer(
        config, config.model_class(config, train_data._dataset).to(config["device"]), None
    )
    recorder = LossRecorder(trainer, len(noisy))
    valid, _ = trainer.fit(train_data, valid_data)
    test = trainer.evaluate(test_data, show_progress=False)
    items = splits[0].inter_feat[splits[0].iid_field]
    result = {
        "noisy": noisy,
        "loss": recorder.mean(args.loss_epochs),
        "loss_run": recorder.mean(len(recorder.epochs)),
        "popularity": torch.bincount(items)[items],
        "epochs": len(trainer.history),
        "valid": float(valid),
        "test": test["ndcg@20"],
    }
    if model == "DVR":
        record, in_run = trainer.record, config["dvr_values"] == "inrun"
        result["value"] = record.total if in_run else record.values
        # The paper's network keeps no losses.
        result["amortised"] = record.amortised(train_data._dataset) if in_run else record.values
    return result


def detect(dataset: str, seed: int, args: argparse.Namespace) -> dict[str, float]:
    """The runs of one seed, and how well each detector finds what was planted."""
    dvr, plain = (train(dataset, model, seed, args) for model in ("DVR", "BPR"))
    others = train(dataset, "DVR", seed, args, **LEAVE_ONE_OUT)
    if not all(torch.equal(run["noisy"], plain["noisy"]) for run in (dvr, others)):
        raise RuntimeError("the runs were given different noise")
    scores = {
        "dvr": -dvr["value"],
        "dvr_loo": -others["value"],
        "dvr_amortised": -dvr["amortised"],
        "dvr_loo_amortised": -others["amortised"],
        "loss": plain["loss"],
        "loss_run": plain["loss_run"],
        "popularity": -plain["popularity"],
    }
    row: dict[str, float] = {"seed": seed}
    for name, score in scores.items():
        row[f"auc_{name}"] = float(roc_auc_score(dvr["noisy"], score))
        row[f"ap_{name}"] = float(average_precision_score(dvr["noisy"], score))
    for name, run in (("dvr", dvr), ("bpr", plain)):
        row.update({f"{key}_{name}": run[key] for key in ("valid", "test", "epochs")})
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
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="Any --dvr_*=value goes to DVR.",
        allow_abbrev=False,
    )
    parser.add_argument("--datasets", default=",".join(BUDGET), help="separated by commas")
    parser.add_argument("--data_path", default="../shared/dataset")
    parser.add_argument("--seeds", default="2020,2021,2022", help="separated by commas")
    parser.add_argument("--share", type=float, default=0.2, help="of the training positives")
    parser.add_argument("--planted", choices=PLANTED, default="uniform", help="which items")
    parser.add_argument("--epochs", type=int, default=0, help="at most; 0: as BUDGET says")
    parser.add_argument("--loss_epochs", type=int, default=5, help="epochs a loss is averaged over")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0: torch's own")
    parser.add_argument("--out", help="JSON file of all numbers; the tables go beside it as .md")
    parser.add_argument("--quick", action="store_true", help="ml-100k, one seed, 4 epochs")
    args, extra = parser.parse_known_args()
    if args.quick:
        args.datasets, args.seeds, args.epochs = "ml-100k", args.seeds.split(",")[0], 4
    args.datasets = args.datasets.split(",")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    unknown = [name for name in args.datasets if name not in BUDGET]
    if unknown or not 0 < args.share < 1:
        parser.error(f"--datasets: of {', '.join(BUDGET)}; --share: between 0 and 1")
    try:
        args.options = parse_argv(extra)
    except ValueError as error:
        parser.error(str(error))
    foreign = [key for key in args.options if not key.startswith("dvr_")]
    if foreign:
        parser.error(f"--{foreign[0]}: no option of this script, and none of DVR")
    return args


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
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
