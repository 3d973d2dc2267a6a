"""Explain a run of IaCN: the capsules of a history, and those that recommendations match."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_enhance.data.loaders import join, take
from recbole_enhance.evaluation.ties import drawn_order, ranked
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.experiment.titles import names_of
from recbole_enhance.options.errors import OptionError
from recbole_enhance.storage.log_lines import show
from recbole_enhance.storage.run_folder import RunFolder

JSONL = "capsules.jsonl"


def explain(
    run_dir: str | Path,
    users: Sequence[str] = (),
    rows: int = 5,
    topk: int = 3,
    title: str = "auto",
    model_class: str | type | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Explain the first test rows of a run, or those of some users.

    Args:
        run_dir: Its folder.
        users: Their tokens; empty for the first rows.
        rows: How many rows, where no users are named.
        topk: Length of the list that is explained.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        model_class: As of :func:`.explain.explain`.
        quiet: Print nothing.

    Returns:
        As :func:`explanations`; also in ``capsules.jsonl``.

    Raises:
        InputError: If the folder or an option says no.
    """
    run = load_run(run_dir, model_class)
    lines = explanations(run, users, rows, topk, title)
    folder = RunFolder.open(run_dir)
    folder.write_jsonl(JSONL, lines)
    if not quiet:
        show("\n\n".join(as_text(line) for line in lines))
        print(f"\ncapsules: {folder.path / JSONL}")
    return lines


@torch.no_grad()
def explanations(
    run: Any, users: Sequence[str], n_rows: int, topk: int, title: str = "auto"
) -> list[dict[str, Any]]:
    """One entry per test row, in the user's own tokens and titles.

    Args:
        run: A run of IaCN, from :func:`~recbole_enhance.experiment.quick_start.load_run`.
        users: Their tokens; empty for the first rows.
        n_rows: How many rows, where no users are named.
        topk: Length of the list that is explained.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.

    Returns:
        ``user``; ``history``, oldest first, each with ``capsule`` (the one that got most of it)
        and ``weights`` (shares of all capsules); ``columns``, the same for routed user columns;
        ``recommended``, best first, each with its ``capsule`` (the one that answers most) and
        ``attention``; and ``target``, the test item, in the same form. Capsules count from 1.

    Raises:
        OptionError: If a user has no test row.
    """
    model, dataset = run.trainer.model.eval(), run.test_data._dataset
    rows = _rows(dataset, users, n_rows)
    rows = run.test_data.transform(dataset, join(dataset, rows)).to(model.device)
    if model.iacn.routing == "normal":  # the noise of this seed, not of where training stopped
        model.iacn.generator = torch.Generator().manual_seed(run.config["seed"])
    routed = model.interests(rows)
    listed = torch.cat(
        [rows[dataset.iid_field].unsqueeze(1), _best(model, dataset, rows, topk)], dim=1
    )
    attention = _answers(model, routed, listed)
    history = rows[dataset.iid_field + run.config["LIST_SUFFIX"]]
    tokens, names = names_of(run, title, torch.cat([history.flatten(), listed.flatten()]))
    network = model.iacn
    routes = network.profile is not None and not network.concatenates
    columns = network.profile.names if routes else []
    lines = []
    users = dataset.id2token(dataset.uid_field, rows[dataset.uid_field].cpu().numpy())
    for row, user in enumerate(users):
        used = int(routed.used[row].sum())
        weights = routed.weights[row, :, :used]
        answers = [
            {
                "item": tokens[item],
                "title": names[item],
                **_share("attention", attention[row, place, :used]),
            }
            for place, item in enumerate(listed[row].tolist())
        ]
        lines.append(
            {
                "user": str(user),
                "history": [
                    {
                        "item": tokens[item],
                        "title": names[item],
                        **_share("weights", weights[place]),
                    }
                    for place, item in enumerate(history[row].tolist())
                    if item > 0
                ],
                "columns": [
                    {"column": name, **_share("weights", weights[history.shape[1] + place])}
                    for place, name in enumerate(columns)
                ],
                "recommended": answers[1:],
                "target": answers[0],
            }
        )
    return lines


def _share(key: str, shares: Tensor) -> dict[str, Any]:
    return {"capsule": int(shares.argmax()) + 1, key: [round(x, 4) for x in shares.tolist()]}


def _rows(dataset: Any, users: Sequence[str], n_rows: int) -> Interaction:
    features = dataset.inter_feat
    if not users:
        return take(features, torch.arange(min(n_rows, len(features))))
    known = dataset.field2token_id[dataset.uid_field]
    index = []
    for user in dict.fromkeys(users):
        of_user = features[dataset.uid_field] == known.get(user, -1)
        if not of_user.any():
            raise OptionError("users", user, "no test row of this user")
        index.append(of_user.nonzero().squeeze(1))
    return take(features, torch.cat(index))


def _best(model: Any, dataset: Any, rows: Interaction, topk: int) -> Tensor:
    """The model's lists, without what the history holds. Shape: ``(rows, topk)``."""
    n_items, lists = dataset.item_num, []
    place = drawn_order(n_items, dataset.config["seed"])
    for row in range(len(rows)):  # a handful; each is a batch of all items
        pairs = take(rows.cpu(), torch.full((n_items,), row))
        pairs.update(Interaction({dataset.iid_field: torch.arange(n_items)}))
        scores = model.predict(join(dataset, pairs).to(model.device)).clone()
        scores[rows[dataset.iid_field + dataset.config["LIST_SUFFIX"]][row]] = float("-inf")
        scores[0] = float("-inf")
        lists.append(ranked(scores.view(1, -1), min(topk, n_items - 1), place)[1])
    return torch.cat(lists)


def _answers(model: Any, routed: Any, items: Tensor) -> Tensor:
    """Attention of items over the capsules of their rows. Shape: ``(rows, items, K)``."""
    n = items.shape[1]
    repeated = type(routed)(*(part.repeat_interleave(n, dim=0) for part in routed))
    query = model.iacn_table[0].interests(items.flatten()).float()
    _, alpha = model.iacn.ask(repeated, query)
    return alpha.view(len(items), n, -1)


def as_text(line: dict[str, Any]) -> str:
    """One entry in words.

    Args:
        line: See :func:`explanations`.
    """
    entries = [
        *((e["capsule"], e["title"]) for e in line["history"]),
        *((e["capsule"], e["column"]) for e in line["columns"]),
    ]
    answers = [*(("recommended", a) for a in line["recommended"]), ("test item", line["target"])]
    capsules = [
        f"  capsule {n}: {'; '.join(name for c, name in entries if c == n)}"
        for n in sorted({c for c, _ in entries})
    ]
    asked = [
        f"  {kind}: {a['title']} (capsule {a['capsule']}, {max(a['attention']):.0%})"
        for kind, a in answers
    ]
    return "\n".join([f"user {line['user']}", *capsules, *asked])
