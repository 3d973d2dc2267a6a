"""Explain a run of RVRec: the parts of a history that each recommendation is based on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recbole_enhance.enhancer.rvrec.gaussian import wasserstein2_squared
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.experiment.titles import names_of
from recbole_enhance.explanation.attribution import (
    Attribution,
    Histories,
    Tables,
    attribute,
    histories_of,
    tables_of,
)
from recbole_enhance.explanation.coalitions_page import page
from recbole_enhance.explanation.html import write_explanations
from recbole_enhance.options.errors import OptionError
from recbole_enhance.recommendation.scoring import KnownUsers
from recbole_enhance.storage.run_folder import RunFolder

JSONL, HTML = "coalitions.jsonl", "coalitions.html"
VERB = "interacted with"  # that a user liked an item is not in the data
NO_REASON = "No supporting history; the score comes from the user's own vector."
_SMALLEST_ALPHA = 1e-3  # prototypes of less weight are no reason


def explain(
    run_dir: str | Path,
    users: Sequence[str] = (),
    rows: int = 5,
    k: int = 5,
    title: str = "auto",
    verb: str = VERB,
    model_class: str | type | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Explain the lists of some users of a run.

    Args:
        run_dir: Its folder.
        users: Their tokens; empty for the first users of the test data.
        rows: How many users, where none are named.
        k: Length of the lists.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        verb: What the users did with the items of their histories, for the sentences: ``bought``.
        model_class: As of :func:`.explain.explain`.
        quiet: Print nothing.

    Returns:
        As :func:`explanations`; also in ``coalitions.jsonl`` and, for people, ``coalitions.html``.

    Raises:
        InputError: If the folder or an option says no.
    """
    run = load_run(run_dir, model_class)
    lines = explanations(run, users, rows, k, title, verb)
    shown = page(run.config["label"], run.config["dataset"], lines)
    write_explanations(RunFolder.open(run_dir), lines, shown, (JSONL, HTML), told, quiet)
    return lines


@torch.no_grad()
def explanations(
    run: Any,
    users: Sequence[str],
    n_users: int,
    k: int,
    title: str = "auto",
    verb: str = VERB,
) -> list[dict[str, Any]]:
    """One entry per recommendation, in the user's own tokens and titles.

    Args:
        run: A run of RVRec, from :func:`~recbole_enhance.experiment.quick_start.load_run`.
        users: Their tokens; empty for the first users of the test data.
        n_users: How many users, where none are named.
        k: Length of the lists.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        verb: As of :func:`explain`.

    Returns:
        See docs/papers/rvrec.md.

    Raises:
        OptionError: If a user is unknown, or the run has no prototypes.
    """
    model = run.trainer.model.eval()
    if model.rvrec.alpha is None:
        raise OptionError(
            "rvrec_msvr",
            False,
            "a run without prototypes of histories has no coalitions to explain",
        )
    people = KnownUsers(run, "train+valid", filter_seen=not run.config["repeatable"])
    with people.reading():
        return _lines(run, people, _user_ids(run, users, n_users), k, title, verb)


def _lines(
    run: Any, people: KnownUsers, ids: Tensor, k: int, title: str, verb: str
) -> list[dict[str, Any]]:
    model = run.trainer.model
    tables, dataset = tables_of(model), run.test_data._dataset
    lists = run.trainer.eval_collector.lists
    values, listed = lists(people.scores(ids), None, min(k, dataset.item_num - 1))
    histories = histories_of(model, tables, ids)
    shown = torch.cat([histories.item.flatten(), listed.flatten()])
    names = names_of(run, title, shown)
    lines = []
    for row, user in enumerate(dataset.id2token(dataset.uid_field, ids.cpu().numpy())):
        one = Histories(*(part[row : row + 1] for part in histories))
        for rank, (score, item) in enumerate(zip(values[row].tolist(), listed[row])):
            if score == float("-inf"):  # the user has nearly all items
                continue
            found = attribute(model, tables, ids[row : row + 1], one, item.view(1))
            lines.append(
                {
                    "user": str(user),
                    "item": names[0][int(item)],
                    "title": names[1][int(item)],
                    "rank": rank + 1,
                    "score": score,
                    **_entry(model, one, found, names, score, verb),
                    "uncertainty": _uncertainty(model, tables, ids[row], item),
                    "meta": _meta(model, one, ids[row], tables),
                }
            )
    return lines


def _user_ids(run: Any, users: Sequence[str], n_users: int) -> Tensor:
    dataset, device = run.test_data._dataset, run.trainer.model.device
    known = dataset.field2token_id[dataset.uid_field]
    unknown = [user for user in users if user not in known or known[user] == 0]
    if unknown:
        raise OptionError("users", unknown[0], f"no such user in {run.config['dataset']}")
    if users:
        return torch.tensor([known[user] for user in dict.fromkeys(users)], device=device)
    return dataset.inter_feat[dataset.uid_field].unique()[:n_users].to(device)


def _entry(
    model: Any, history: Histories, found: Attribution, names: Any, score: float, verb: str
) -> dict[str, Any]:
    """Base, coalitions by value, the best one (Eq. 17) and the check."""
    tokens, titles = names
    n = int(history.lengths[0])
    item, ids, p = (part[0, :n].tolist() for part in (history.item, history.ids, history.p))
    w = found.weights.tolist()
    coalitions = []
    for k, value in enumerate(found.additive.tolist()):
        places = [t for t in range(n) if ids[t] == k]
        coalitions.append(
            {
                "id": k,
                "items": [tokens[item[t]] for t in places],
                "titles": [titles[item[t]] for t in places],
                "positions": [t + 1 for t in places],
                "size": len(places),
                "value_additive": value,
                "value_shapley": None if found.shapley is None else found.shapley[k].item(),
                "value_removal": found.removal[k].item(),
                "gate_p": [round(p[t], 4) for t in places[:-1]],
                "item_values": found.items[places].tolist(),
                "weights": [w[t] for t in places],
            }
        )
    coalitions.sort(key=lambda c: -c["value_additive"])
    total = found.base + sum(c["value_additive"] for c in coalitions)
    return {
        "base": {"user_mean": found.base},
        "coalitions": coalitions,
        "explanation": _sentence(coalitions, abs(model.rvrec.alpha.item()), verb),
        "check": {"sum": total, "gap": abs(total - score)},
    }


def _sentence(coalitions: list[dict[str, Any]], alpha: float, verb: str) -> dict[str, Any]:
    """Eq. (17), or that there is no reason."""
    if not coalitions or coalitions[0]["value_additive"] <= 0 or alpha < _SMALLEST_ALPHA:
        return {"coalition": None, "share": 0.0, "text": NO_REASON}
    best = coalitions[0]
    positive = sum(max(c["value_additive"], 0.0) for c in coalitions)
    titles = best["titles"]
    joined = " and ".join([", ".join(titles[:-1]), titles[-1]] if len(titles) > 1 else titles)
    together = " together" if len(titles) > 1 else ""
    return {
        "coalition": best["id"],
        "share": best["value_additive"] / positive,
        "text": f"Recommended because you {verb} {joined}{together}.",
    }


def _uncertainty(model: Any, tables: Tables, user: Tensor, item: Tensor) -> Any:
    """Mean sigmas and W2 of a pair; None without PEO."""
    network = model.rvrec
    if network.users is None:
        return None
    _, raw, *_ = model.adapter.base(model)
    e, f = tables.users[user].unsqueeze(0), raw[item].unsqueeze(0)
    sigma, tau = network.users.deviation(e), network.items.deviation(f)
    mu, nu = network.users.mean(e), network.items.mean(f)
    distance = wasserstein2_squared(mu, sigma, nu, tau).sqrt()
    return {
        "sigma_user": sigma.mean().item(),
        "sigma_item": tau.mean().item(),
        "w2_user_item": distance.item(),
    }


def _meta(model: Any, history: Histories, user: Tensor, tables: Tables) -> dict[str, Any]:
    network = model.rvrec
    return {
        "game": "additive" if tables.linear else "coalitions",
        "query": "item" if network.item_query else "user",
        "kappa": None if network.item_query else network.prototypes.kappa,
        "alpha": network.alpha.item(),
        "beta": network.beta.item() if network.item_query else None,
        "decay": network.decay if network.item_query else None,
        "partition": "rule" if network.by_rule else "p>0.5",
        "hist_used": int(history.lengths[0]),
        "hist_total": int(network.read.counts[user]),
    }


def told(line: dict[str, Any]) -> str:
    """One entry in words.

    Args:
        line: See :func:`explanations`.
    """
    said = line["explanation"]
    share = ""
    if said["coalition"] is not None:
        share = f" ({said['share']:.0%} of what the history adds)"
    return f"user {line['user']}, {line['rank']}. {line['title']}: {said['text']}{share}"
