"""What the benchmarks of values share: planted noise, and runs on changed training interactions."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import turns
from recbole.data import create_dataset
from recbole.utils import init_seed

from recbole_enhance.data.loaders import prepare_data
from recbole_enhance.data.rows import ROW_ID, WEIGHT, number_rows
from recbole_enhance.experiment.config import Config
from recbole_enhance.training.losses import per_sample
from recbole_enhance.training.trainer import make_trainer

PLANTED = ("uniform", "popular")
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
LEAVE_ONE_OUT = {"dvr_utility": "leave_one_out", "dvr_strength": 0}


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
    dataset: str,
    model: str,
    seed: int,
    args: argparse.Namespace,
    change: Callable[[list[Any]], Any],
    command_line: dict[str, Any] | None = None,
    make: Callable[[Any, Any, Any], Any] = make_trainer,
    **own: Any,
) -> dict[str, Any]:
    """Train on a split whose training part is changed first; validation stops early.

    Args:
        dataset: One of :data:`BUDGET`.
        model: BPR, or DVR over it.
        seed: Of the split and the run.
        args: Of the command line, :func:`parser`.
        change: Changes the first of the three parts in place, as :func:`plant` does.
        command_line: Options that win over all others.
        make: Makes the trainer of the settings, the model and a folder.
        own: Options of this run.

    Returns:
        ``loss`` (mean of the last epochs), ``loss_run`` (of all), ``popularity`` and, with DVR,
        ``value`` and ``amortised`` of each training interaction; NDCG@20 of ``valid`` and ``test``;
        ``epochs``; and what the change returned, as ``changed``.
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
    config = Config(config_dict=options, command_line=command_line or {})
    config["checkpoint_dir"] = "."
    init_seed(seed, config["reproducibility"])
    whole = create_dataset(config)
    splits = whole.build()
    changed = change(splits)
    whole.build = lambda: splits  # so that the samplers below are built of the changed split
    train_data, valid_data, test_data = prepare_data(config, whole)
    training = train_data._dataset
    if WEIGHT in training.inter_feat:
        config["interaction_weight_field"] = WEIGHT  # of no file, so it is set after reading
    n = number_rows(train_data)
    init_seed(seed, config["reproducibility"])
    trainer = make(config, config.model_class(config, training).to(config["device"]), None)
    recorder = LossRecorder(trainer, n)
    valid, _ = trainer.fit(train_data, valid_data)
    test = trainer.evaluate(test_data, show_progress=False)
    items = training.inter_feat[training.iid_field]
    result = {
        "changed": changed,
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
        result["amortised"] = record.amortised(training) if in_run else record.values
    return result


def scores_of(
    dataset: str,
    seed: int,
    args: argparse.Namespace,
    change: Callable[[list[Any]], Any],
    command_line: dict[str, Any] | None = None,
    **judged: Any,
) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, Any]]]:
    """Score the training interactions, by DVR twice and by BPR; low is doubtful.

    Args:
        dataset: As the others, of :func:`train`.
        seed: Of all three runs.
        args: Of the command line.
        change: Done to each run's data alike.
        command_line: Of the run whose values are measured by judges, as ``judged``.
        judged: Options of that run.

    Returns:
        The scores, each of shape ``(interactions,)``; and the runs ``dvr``, ``dvr_loo``, ``bpr``.

    Raises:
        RuntimeError: If a run's data were changed in another way.
    """
    runs = {
        "dvr": train(dataset, "DVR", seed, args, change, command_line, **judged),
        "dvr_loo": train(dataset, "DVR", seed, args, change, **LEAVE_ONE_OUT),
        "bpr": train(dataset, "BPR", seed, args, change),
    }
    changed = [run["changed"] for run in runs.values()]
    if changed[0] is not None and not all(changed[0].equal(other) for other in changed):
        raise RuntimeError("the runs were given different noise")
    scores = {name: runs[name]["value"] for name in ("dvr", "dvr_loo")}
    scores |= {f"{name}_amortised": runs[name]["amortised"] for name in ("dvr", "dvr_loo")}
    scores |= {name: -runs["bpr"][name] for name in ("loss", "loss_run")}
    return {**scores, "popularity": runs["bpr"]["popularity"]}, runs


def parser(doc: str, seeds: str, quick: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The options of these benchmarks.

    Args:
        doc: The script's docstring; its first line describes it.
        seeds: Default.
        quick: What ``--quick`` does.
        epilog: Of the help.
    """
    made = turns.parser(doc, quick)
    made.epilog, made.allow_abbrev = epilog, False
    made.set_defaults(threads=0)
    made.add_argument("--datasets", default=",".join(BUDGET), help="separated by commas")
    made.add_argument("--seeds", default=seeds, help="separated by commas")
    made.add_argument("--share", type=float, default=0.2, help="of the positives that is replaced")
    made.add_argument("--planted", choices=PLANTED, default="uniform", help="which items")
    made.add_argument("--epochs", type=int, default=0, help="at most; 0: as BUDGET says")
    made.add_argument("--loss_epochs", type=int, default=5, help="epochs a loss is averaged over")
    made.add_argument("--out", help="JSON file of all numbers; the tables go beside it as .md")
    return made


def finish(made: argparse.ArgumentParser, args: argparse.Namespace, quick_epochs: int) -> None:
    """Make lists of what is separated by commas, and check it."""
    if args.quick:
        args.datasets, args.seeds = "ml-100k", args.seeds.split(",")[0]
        args.epochs = quick_epochs
    args.datasets = args.datasets.split(",")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    unknown = [name for name in args.datasets if name not in BUDGET]
    if unknown or not 0 < args.share < 1:
        made.error(f"--datasets: of {', '.join(BUDGET)}; --share: between 0 and 1")
    if args.threads:
        torch.set_num_threads(args.threads)
