"""How good a model's lists and feature explanations are on given pairs, in its current state.

Under an attack, the same call measures the attacked model on the same pairs.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from recbole_enhance.explanation.pairs import Candidates, Pairs, margins, score_candidates, top_k
from recbole_enhance.metric import explanation as metric
from recbole_enhance.metric.ranking import ndcg
from recbole_enhance.model.feature_aware import ranked
from recbole_enhance.options.errors import RunFolderError

_CELLS = 2**22  # numbers of candidates' features at once
BASELINES = ("most frequent", "user's top", "item's top", "user's x item's top", "random of user's")


class UnsuitableModelError(RunFolderError):
    """What was asked for cannot be measured of this model."""


class Protocol(NamedTuple):
    """What is explained and how it is judged.

    Attributes:
        candidates: What is ranked.
        pairs: What is explained; None for a model without features.
        truth: Features of the pairs' test reviews. Shape: ``(P, F)``.
        topk: Length of the recommended list.
        n_features: Features per explanation that count in precision, recall, F1 and NDCG.
        seed: Of the explanation's search.
    """

    candidates: Candidates
    pairs: Pairs | None
    truth: Tensor | None
    topk: int
    n_features: int
    seed: int


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        lists: Columns of the recommended candidates. Shape: ``(users, topk)``.
        list_values: Metric -> one value per user.
        ranking: Explanations, None without features. Shape: ``(P, F)``.
        weight: Their weights. Shape: ``(P, F)``.
        values: Metric -> one value per pair.
    """

    lists: Tensor
    list_values: dict[str, Tensor]
    ranking: Tensor | None
    weight: Tensor | None
    values: dict[str, Tensor]


def assess(model: Any, protocol: Protocol, progress: Any = None) -> Measured:
    """Rank, explain and judge.

    Args:
        model: Any general model; explanations of a
            :class:`~recbole_enhance.model.feature_aware.FeatureAwareRecommender` only.
        protocol: See :class:`Protocol`.
        progress: Called with the number of pairs done.
    """
    scores = score_candidates(model, protocol.candidates)
    listed = top_k(scores, protocol.candidates.place, protocol.topk)
    positive = protocol.candidates.positive
    hits = positive.gather(1, listed.clamp(min=0)) & (listed >= 0)
    list_values = {"ndcg": ndcg(hits, positive.sum(1))}
    if protocol.pairs is None:
        return Measured(listed, list_values, None, None, {})
    pairs, device = protocol.pairs, model.item_feature_matrix.device
    margin = margins(scores, protocol.topk)[pairs.row]
    found = model.explain(
        pairs.user.to(device),
        pairs.item.to(device),
        margin.to(device),
        seed=protocol.seed,
        progress=progress,
    )
    ranking, weight = found.ranking.cpu(), found.weight.cpu()
    values = judge(ranking, protocol.truth, protocol.n_features)
    values.update(necessity_and_sufficiency(model, protocol, found.mask))
    return Measured(listed, list_values, ranking, weight, values)


def judge(ranking: Tensor, truth: Any, n_features: int) -> dict[str, Tensor]:
    """Metrics of explanations against the truth, one value per pair.

    Args:
        ranking: Feature columns, best first, then -1. Shape: ``(P, F)``.
        truth: Shape: ``(P, F)``.
        n_features: Length at which explanations are cut, except for ``f1_whole`` and ``size``.
    """
    cut = ranking[:, :n_features]
    return {
        "precision": metric.precision(cut, truth).masked_fill(~truth.any(1), torch.nan),
        "recall": metric.recall(cut, truth),
        "f1": metric.f1(cut, truth),
        "feature_ndcg": metric.ndcg(cut, truth),
        "f1_whole": metric.f1(ranking, truth),
        "coverage": metric.coverage(ranking),
        "size": (ranking >= 0).sum(1).double(),
    }


@torch.no_grad()
def necessity_and_sufficiency(model: Any, protocol: Protocol, mask: Tensor) -> dict[str, Tensor]:
    """PN and PS of each pair: its features taken from, or left alone in, all candidates.

    A pair without an explanation has neither.

    Args:
        model: A feature-aware model.
        protocol: See :class:`Protocol`.
        mask: Features of the explanation. Shape: ``(P, F)``.
    """
    pairs, candidates = protocol.pairs, protocol.candidates
    assert pairs is not None
    n_candidates = candidates.item.shape[1]
    width = n_candidates * max(model.n_features, model._cells_per_pair)
    ranks: dict[str, list] = {"pn": [], "ps": []}
    for rows in torch.arange(len(pairs.row)).split(max(1, _CELLS // width)):
        row = pairs.row[rows]
        users, items = pairs.user[rows].to(mask.device), candidates.item[row].to(mask.device)
        for name, keep in (("pn", ~mask[rows]), ("ps", mask[rows])):
            scores = model.score_pairs(users, items, keep=keep).cpu()
            scores = scores.masked_fill(~candidates.valid[row], -torch.inf)
            place = candidates.place[row]
            ranks[name].append(metric.target_rank(scores, place, pairs.column[rows]))
    explained = mask.any(1).cpu()
    none = torch.zeros(0, dtype=torch.long)
    pn = metric.necessity(torch.cat([none, *ranks["pn"]]), protocol.topk)
    ps = metric.sufficiency(torch.cat([none, *ranks["ps"]]), protocol.topk)
    return {"pn": pn * explained, "ps": ps * explained}


def summary(measured: Measured, clean: Measured | None = None) -> dict[str, float]:
    """Means of what was measured; against a clean measurement also its stability.

    Args:
        measured: What was measured.
        clean: The same pairs, unattacked.

    Returns:
        Means over users (``ndcg``, ``list_jaccard``, ``list_rbo``) and over pairs; ``_explained``
        is over the pairs that have an explanation; ``jaccard`` and ``rbo`` are with the pair's
        clean explanation, ``jaccard_others`` with that of another pair. NaN where there is nothing
        to average.
    """
    row = {name: float(v.mean()) for name, v in measured.list_values.items()}
    if clean is not None:
        width = int(max(measured.lists.max(), clean.lists.max())) + 1
        row["list_jaccard"] = float(metric.jaccard(clean.lists, measured.lists, width).mean())
        row["list_rbo"] = float(metric.rank_biased_overlap(clean.lists, measured.lists).mean())
    if measured.ranking is None:
        return row
    for name, values in measured.values.items():
        row[name] = float(values.nanmean())
        if name in ("precision", "recall", "f1", "feature_ndcg", "pn", "ps", "size"):
            explained = values[measured.values["coverage"] > 0]
            row[f"{name}_explained"] = float(explained.nanmean())
    row["f_ns"] = metric.f_ns(row["pn"], row["ps"])
    # Explanations that are the same for everybody survive any attack: this is how alike they are.
    n, half = measured.ranking.shape[1], len(measured.ranking) // 2
    others = metric.jaccard(measured.ranking, measured.ranking.roll(half, 0), n)
    row["jaccard_others"] = float(others.mean())
    if clean is not None and clean.ranking is not None:
        row["jaccard"] = float(metric.jaccard(clean.ranking, measured.ranking, n).mean())
        overlap = metric.rank_biased_overlap(clean.ranking, measured.ranking)
        row["rbo"] = float(overlap.mean())
    return row


def baselines(run: Any, protocol: Protocol) -> dict[str, dict[str, float]]:
    """The quality of trivial explanations, which need no model, on the same pairs.

    Args:
        run: A run of a feature-aware model.
        protocol: See :class:`Protocol`.

    Returns:
        Name of :data:`BASELINES` -> means as in :func:`summary`.
    """
    model, pairs = run.trainer.model, protocol.pairs
    assert pairs is not None
    assert protocol.truth is not None
    x = model.user_feature_matrix.cpu()[pairs.user]
    y = model.item_feature_matrix.cpu()[pairs.item]
    count = torch.bincount(run.train_data._dataset.mentions.feature, minlength=model.n_features)
    generator = torch.Generator().manual_seed(protocol.seed)
    weights = (
        count.double().expand(x.shape).clone(),
        x,
        y,
        x * y,
        torch.rand(x.shape, generator=generator) * (x > 0),
    )
    rows = {}
    for name, weight in zip(BASELINES, weights):
        ranking = ranked(weight, weight > 0)[:, : protocol.n_features]
        values = judge(ranking, protocol.truth, protocol.n_features)
        rows[name] = {key: float(value.nanmean()) for key, value in values.items()}
    return rows
