r"""What several keys, and ways of forgetting old items, do to RVRec's item query.

Weights of a history by several keys are

.. math::
    w_t(i) = \frac{1}{h} \sum_{k=1}^{h}
        \mathrm{softmax}_t(\beta \cos(v_t^k, v_i^k) - \delta a_t)

with rows in h parts (heads), for which there is no option. The decay delta is ``rvrec_decay``. In
training, ages count from the positive, as the option does, or from the newest item, as they do at
inference. The split is at random, as on most boards, or by time, where age means more. All rows are
trained alike, over BPR, with the same seeds.
"""

from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize
from turns import choose_dataset, parser

from recbole_enhance.enhancer.rvrec import method
from recbole_enhance.enhancer.rvrec.histories import Chains, younger
from recbole_enhance.experiment.quick_start import run_recbole_enhance
from recbole_enhance.explanation.attribution import padded
from recbole_enhance.leaderboard.statistics import seed_interval

POSITIVE, NEWEST = "positive", "newest"  # from what ages of training count
ROWS = (
    (1, 0.0, POSITIVE),
    (2, 0.0, POSITIVE),
    (4, 0.0, POSITIVE),
    (1, 0.1, POSITIVE),
    (1, 0.1, NEWEST),
    (1, 1.0, POSITIVE),
    (1, 1.0, NEWEST),
)
FIRST = 2020  # seed
ORDERS = {"random": "RO", "time": "TO"}
_USERS_AT_ONCE = 64


class Keys:
    """The item query with heads, in plain operations.

    Args:
        heads: They divide the length of the rows.
    """

    def __init__(self, heads: int) -> None:
        self.heads = heads

    def weights(
        self, players: Tensor, asking: Tensor, there: Tensor, beta: Tensor, prior: Tensor | None
    ) -> Tensor:
        """Weights of players, without a gradient into rows.

        Args:
            players: Shape: ``(rows, players, d)``.
            asking: Rows of the items that ask. Shape: ``(rows, any, d)``.
            there: False for padding. Shape: ``(rows, players)``.
            beta: Shape: ``()``.
            prior: As of ``histories.recency``. Shape: as ``there``.

        Returns:
            Zero of padding and of an empty history. Shape: ``(rows, any, players)``.
        """
        keys, queries = (
            normalize(x.detach().unflatten(2, (self.heads, -1)), dim=3).transpose(1, 2)
            for x in (players, asking)
        )
        absent = ~there[:, None, None]
        logits = beta * queries @ keys.transpose(2, 3)
        if prior is not None:
            logits = logits + prior.log()[:, None, None]
        weights = logits.masked_fill(absent, torch.finfo(logits.dtype).min).softmax(3)
        return weights.masked_fill(absent, 0.0).mean(1)

    def history_scores(
        self,
        history: Tensor,
        there: Tensor,
        items: Tensor,
        table: Tensor,
        beta: Tensor,
        prior: Tensor | None = None,
    ) -> Tensor:
        """As ``item_query.history_scores``."""
        players, asking = embedding(history, table), embedding(items.T, table)
        weights = self.weights(players, asking, there, beta, prior)
        return (weights * (asking @ players.transpose(1, 2))).sum(2).T

    @torch.no_grad()
    def scores_of_all(
        self, chains: Chains, table: Tensor, beta: Tensor, prior: Tensor | None = None
    ) -> Tensor:
        """As ``item_query.scores_of_all``."""
        longest = max(int(chains.lengths.max()), 1)
        history = padded(chains, chains.item, longest)
        there = torch.arange(longest, device=table.device) < chains.lengths.unsqueeze(1)
        prior = there.to(table) if prior is None else padded(chains, prior.to(table), longest)
        items = torch.arange(len(table), device=table.device).unsqueeze(1)
        parts = zip(*(x.split(_USERS_AT_ONCE) for x in (history, there, prior)))
        scores = [self.history_scores(*part[:2], items, table, beta, part[2]).T for part in parts]
        return torch.cat(scores)


def train(
    heads: int,
    decay: float,
    anchor: str,
    seed: int,
    dataset: str,
    epochs: int,
    order: str,
    args: Any,
) -> tuple[float, float]:
    """NDCG@20 of one run, on validation and on test."""
    options = {
        "model": "RVRec",
        "dataset": dataset,
        "data_path": args.data_path,
        "variant": "paper" if dataset == "amazon-beauty" else None,
        "eval_args": {"order": order},
        "seed": seed,
        "rvrec_alpha_start": 3.0,
        "rvrec_decay": decay,
        "learning_rate": args.learning_rate,
        "epochs": epochs,
        "eval_step": 5,
        "stopping_step": 3,
        "topk": [20],
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@20",
        "show_progress": False,
    }
    pieces = {} if anchor == POSITIVE else {"gaps": younger}
    if heads > 1:
        keys = Keys(heads)
        pieces |= {"history_scores": keys.history_scores, "scores_of_all": keys.scores_of_all}
    with mock.patch.dict(vars(method), pieces):
        result = run_recbole_enhance(config_dict=options, saved=False)
    return result["best_valid_result"]["ndcg@20"], result["test_result"]["ndcg@20"]


def change(test: np.ndarray, plain: np.ndarray) -> str:
    """Cells of a row: what it gains over the plain query, and the interval over seeds."""
    if test is plain:
        return "- | -"
    found = seed_interval(test - plain, unit=1e-4)
    interval = f"{found.low:+.4f} to {found.high:+.4f}" if len(test) > 1 else "-"
    return f"{found.mean / plain.mean():+.1%} | {interval}"


def main() -> None:
    options = parser(__doc__, "one seed, one epoch of ml-100k, and two rows")
    options.add_argument("--learning_rate", type=float, default=0.0023)
    options.add_argument("--epochs", type=int, default=60)
    options.add_argument("--seeds", type=int, default=3, help="how many")
    options.add_argument("--splits", default=",".join(ORDERS), help="separated by commas")
    args = options.parse_args()
    torch.set_num_threads(max(args.threads, 1))
    dataset = choose_dataset(args.data_path, "ml-100k" if args.quick else "amazon-beauty")
    seeds, epochs, rows = range(FIRST, FIRST + args.seeds), args.epochs, ROWS
    if args.quick:
        seeds, epochs, rows = range(FIRST, FIRST + 1), 1, ROWS[:2]
    core = "" if dataset == "ml-100k" else ", 10-core"
    print(f"{dataset}{core}: RVRec over BPR, NDCG@20 of {len(seeds)} seeds")
    print("| split | heads | decay | ages from | validation | test | change on test | interval |")
    print("|---|---|---|---|---|---|---|---|")
    valid, test, last = {}, {}, []
    for split in args.splits.split(","):
        for row in rows:
            runs = [
                train(
                    *row, seed=seed, dataset=dataset, epochs=epochs, order=ORDERS[split], args=args
                )
                for seed in seeds
            ]
            valid[row], test[row] = np.array(runs).T
            print(
                f"| {split} | {row[0]} | {row[1]:g} | {row[2]} | {valid[row].mean():.4f} "
                f"| {test[row].mean():.4f} | {change(test[row], test[ROWS[0]])} |",
                flush=True,
            )
        heads, decay, anchor = best = max(rows, key=lambda row: valid[row].mean())
        ratio = test[best].mean() / test[ROWS[0]].mean()
        last.append(
            f"benchmark=rvrec_keys split={split} chosen_heads={heads} chosen_decay={decay:g} "
            f"ages_from={anchor} test_ratio={ratio:.3f}"
        )
    print(*last, sep="\n")


if __name__ == "__main__":
    main()
