"""Explain the lists of any model that scores items, by the items that the user had.

Three readings, each where the model allows it. **Similarity**: the items of the history nearest to
the recommended one, by the cosine of the model's own vectors; it is likeness, and no proof that
the model used it. **Removal**: what the score loses if an item leaves the history that the model
reads; models that read none have no removal. **Value**: for runs of DVR, the training interactions
of the user that helped most.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from recbole_enhance.data.loaders import rows_in_memory
from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.experiment.titles import names_of
from recbole_enhance.explanation.html import rendered, short, signed, write_explanations
from recbole_enhance.explanation.values import VALUES, read_values
from recbole_enhance.options.errors import InputError, OptionError, RunFolderError
from recbole_enhance.recommendation.files import Given, ids_of
from recbole_enhance.recommendation.histories import Sequences, seen_items, sequences_of
from recbole_enhance.recommendation.new_users import EXACT, NewUsers
from recbole_enhance.recommendation.scoring import KnownUsers, dataset_of, is_sequential
from recbole_enhance.recommendation.vectors import item_vectors
from recbole_enhance.storage.run_folder import RunFolder

JSONL, HTML = "reasons.jsonl", "reasons.html"
NO_REASON = "No item of the history stands out."
_REMOVED = 500  # at most so many items of a history leave it, the last ones
_NOTHING = 1e-6  # of the largest score: a loss below is rounding


class History(NamedTuple):
    """The histories of some users as the model knows them, one user after the other.

    Attributes:
        columns: Item id and what else is known. Shape: ``(interactions, ...)``.
        counts: Interactions of each user. Shape: ``(users,)``.
        field: The column of items.
    """

    columns: dict[str, Tensor]
    counts: Tensor
    field: str

    @property
    def items(self) -> Tensor:
        """Ids. Shape: ``(interactions,)``."""
        return self.columns[self.field]


def explain(
    run_dir: str | Path,
    users: Sequence[str] = (),
    rows: int = 5,
    k: int = 5,
    nearest: int = 5,
    title: str = "auto",
    model_class: str | type | None = None,
    method: Any = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Explain the lists of some users of a run.

    Args:
        run_dir: Its folder.
        users: Their tokens; empty for the first users of the test data.
        rows: How many users, where none are named.
        k: Length of the lists.
        nearest: How many items of the history stand with each recommendation.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        model_class: As of :func:`.explain.explain`.
        method: As of :func:`.explain.explain`.
        quiet: Print nothing.

    Returns:
        As :func:`explanations`; also in ``reasons.jsonl`` and, for people, ``reasons.html``.

    Raises:
        InputError: If the folder or an option says no, or the model neither has vectors of items
            nor reads a history.
    """
    run = load_run(run_dir, model_class, method)
    folder = RunFolder.open(run_dir)
    lines = explanations(run, users, rows, k, nearest, title, _values(folder))
    shown = page(run.config["label"], run.config["dataset"], lines)
    write_explanations(folder, lines, shown, (JSONL, HTML), told, quiet)
    return lines


@torch.no_grad()
def explanations(
    run: Any,
    users: Sequence[str] = (),
    n_users: int = 5,
    k: int = 5,
    nearest: int = 5,
    title: str = "auto",
    values: Any = None,
) -> list[dict[str, Any]]:
    """One entry per recommendation, in the user's own tokens and titles.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        users: Their tokens; empty for the first users of the test data.
        n_users: How many users, where none are named.
        k: Length of the lists.
        nearest: How many items of the history stand with each recommendation.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        values: From :func:`~.values.read_values`, or None.

    Returns:
        ``user``, ``item``, ``title``, ``rank``, ``score``; ``nearest`` (``item``, ``title``,
        ``similarity`` from -1 to 1, best first), ``removal`` (``item``, ``title``, ``loss`` of the
        score, largest first) and ``valuable`` (``item``, ``title``, ``value``,
        ``standard_error``), each None where the model or the run has none; ``history``, the number
        of items; ``text``, a sentence.

    Raises:
        InputError: See :func:`explain`.
    """
    dataset = dataset_of(run)
    if not 0 < k <= dataset.item_num - 1:
        raise OptionError("k", k, f"a number from 1 to {dataset.item_num - 1} is expected")
    people = KnownUsers(run, "train+valid")
    ids = _user_ids(run, people, users, n_users)
    scores, items = run.trainer.eval_collector.lists(people.scores(ids), ids, k)
    scores, items = scores.cpu(), items.cpu()
    history = history_of(run, ids, people.reads)
    likeness = _likeness(run, items, history)
    losses = removal(run, items, history)
    if likeness is None and losses is None:
        raise InputError(
            f"explain: {run.config['label']} has no vectors of items and reads no history: there "
            "is nothing to explain its lists by"
        )
    tokens, titles = names_of(run, title, torch.cat([items.flatten(), history.items]))
    ends = history.counts.cumsum(0).tolist()
    lines = []
    names = people.tokens(ids)
    for row, user in enumerate(names):  # a handful, for people
        start, end = (ends[row - 1] if row else 0), ends[row]
        own = history.items[start:end].tolist()
        valuable = _valuable(values, str(user), tokens, titles, nearest)
        for rank, (score, item) in enumerate(zip(scores[row].tolist(), items[row].tolist())):
            if score == float("-inf"):  # the user has nearly all items
                continue
            near = _best(likeness, start, end, rank, own, nearest, "similarity", tokens, titles)
            lost = _best(losses, start, end, rank, own, nearest, "loss", tokens, titles)
            lines.append(
                {
                    "user": str(user),
                    "item": tokens[item],
                    "title": titles[item],
                    "rank": rank + 1,
                    "score": score,
                    "history": end - start,
                    "nearest": near,
                    "removal": lost,
                    "valuable": valuable,
                    "text": _sentence(near, lost),
                }
            )
    return lines


def history_of(run: Any, users: Tensor, reads_known: bool = False) -> History:
    """What users had: to a sequential model before the test, to another one in training.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        users: Ids. Shape: ``(users,)``.
        reads_known: Whether another one reads what was before the test, too.
    """
    field = dataset_of(run).iid_field
    if is_sequential(run):
        rows = sequences_of(run, "train+valid")
        columns = {name: rows.of(users, name)[1] for name in rows.columns}
        return History(columns, rows.lengths[users], field)
    of_user, items = seen_items(run, "train+valid" if reads_known else "train").of(users)
    return History({field: items}, torch.bincount(of_user, minlength=len(users)), field)


def leave_one_out(counts: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every history whole, and without each of its last items.

    Args:
        counts: Interactions of each user, whose rows follow one another. Shape: ``(users,)``.
        most: At most so many items leave a history.

    Returns:
        User and row that left (-1 for none) of each variant; variant and row of each of its
        interactions. Shape: ``(variants,)`` twice, ``(interactions,)`` twice.

    Example:
        >>> leave_one_out(torch.tensor([2, 1]), 9)[1].tolist()
        [-1, 0, 1, -1, 2]
        >>> [part.tolist() for part in leave_one_out(torch.tensor([2]), 9)[2:]]
        [[0, 0, 1, 2], [0, 1, 1, 0]]
    """
    start = counts.cumsum(0) - counts
    leaving = counts.clamp(max=most)
    user = torch.repeat_interleave(torch.arange(len(counts)), leaving + 1)
    first = (leaving + 1).cumsum(0) - leaving - 1
    number = torch.arange(len(user)) - first[user] - 1  # -1 is the whole history
    left = torch.where(number < 0, -1, start[user] + counts[user] - leaving[user] + number)
    variant = torch.repeat_interleave(torch.arange(len(user)), counts[user])
    before = counts[user].cumsum(0) - counts[user]
    row = start[user][variant] + torch.arange(len(variant)) - before[variant]
    keep = row != left[variant]
    return user, left, variant[keep], row[keep]


@torch.no_grad()
def removal(run: Any, items: Tensor, history: History) -> Tensor | None:
    """What the score of each listed item loses if an item leaves the history that is read.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        items: The lists. Shape: ``(users, k)``.
        history: Of the users.

    Returns:
        NaN for an item that did not leave: too old, or the only one. Shape: ``(interactions, k)``;
        None if the model reads no history.
    """
    user, left, variant, row = leave_one_out(history.counts, _REMOVED)
    columns = {name: column[row] for name, column in history.columns.items()}
    histories = Sequences(variant, columns, len(user))
    try:
        people = NewUsers(run, np.arange(len(user)).astype(str), histories, filter_seen=False)
    except InputError:
        return None
    if people.how != EXACT:
        return None
    there = (histories.lengths > 0).nonzero().squeeze(1)
    scores = torch.full((len(user), items.shape[1]), torch.nan)
    step = rows_in_memory(run.config, dataset_of(run).item_num)
    for part in there.split(step):
        scores[part] = people.scores(part).cpu().float().gather(1, items[user[part]])
    losses = torch.full((len(history.items), items.shape[1]), torch.nan)
    whole = (left < 0).nonzero().squeeze(1)[user]  # of each variant's user
    gone = left >= 0
    losses[left[gone]] = scores[whole[gone]] - scores[gone]
    size = scores[scores.isfinite()].abs().amax() if scores.isfinite().any() else torch.tensor(0.0)
    if not (losses.nan_to_num().abs() > _NOTHING * size).any():
        return None  # Pop scores all alike, whatever they had
    return losses


def _likeness(run: Any, items: Tensor, history: History) -> Tensor | None:
    """Cosines of the history and the user's list. Shape: ``(interactions, k)``."""
    try:
        vectors = item_vectors(run, KnownUsers(run, "train", filter_seen=False)).items
    except InputError:
        return None
    unit = normalize(vectors.float(), dim=1).cpu()
    user = torch.repeat_interleave(torch.arange(len(items)), history.counts)
    return (unit[history.items].unsqueeze(1) * unit[items[user]]).sum(2)


def _user_ids(run: Any, people: KnownUsers, users: Sequence[str], n_users: int) -> Tensor:
    dataset = dataset_of(run)
    if not users:
        tested = dataset.inter_feat[dataset.uid_field].unique()
        return tested[people.can[tested]][:n_users]
    ids = ids_of(dataset, dataset.uid_field, Given(list(users), None, "users"), "user")
    if not bool(people.can[ids].all()):
        user = users[int((~people.can[ids]).nonzero()[0])]
        raise OptionError("users", user, "has no history to explain a list by")
    return ids


def _best(
    values: Tensor | None,
    start: int,
    end: int,
    rank: int,
    own: Sequence[int],
    n: int,
    key: str,
    tokens: dict[int, str],
    titles: dict[int, str],
) -> list[dict[str, Any]] | None:
    """The n items of a history with the largest values, each item once."""
    if values is None:
        return None
    column = values[start:end, rank]
    order = column.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True).tolist()
    found: dict[int, float] = {}
    for place in order:
        if not column[place].isnan():
            found.setdefault(own[place], float(column[place]))
    best = list(found.items())[:n]
    return [{"item": tokens[i], "title": titles[i], key: value} for i, value in best]


def _values(folder: RunFolder) -> Any:
    if not (folder.path / VALUES).is_file():
        return None
    try:
        return read_values(folder.path)
    except RunFolderError:  # of dvr_values=harsanyi, which do not add up
        return None


def _valuable(
    values: Any, user: str, tokens: dict[int, str], titles: dict[int, str], n: int
) -> list[dict[str, Any]] | None:
    if values is None:
        return None
    names = {token: titles[i] for i, token in tokens.items()}
    column = values.columns[1]
    own = values[values[values.columns[0]] == user].sort_values(
        "value", ascending=False, kind="stable"
    )
    return [
        {
            "item": row[column],
            "title": names.get(row[column], row[column]),
            "value": row["value"],
            "standard_error": None if np.isnan(row["standard_error"]) else row["standard_error"],
        }
        for row in own.head(n).to_dict("records")
        if row["value"] > 0
    ]


def _sentence(near: Any, lost: Any) -> str:
    if lost and lost[0]["loss"] > 0:
        top = lost[0]
        return (
            f"Based mostly on {top['title']}: without it the score falls by {short(top['loss'])}."
        )
    if near and near[0]["similarity"] > 0:
        titles = [entry["title"] for entry in near[:2] if entry["similarity"] > 0]
        return f"Most similar to {' and '.join(titles)} of the history, by the model's vectors."
    return NO_REASON


def told(line: dict[str, Any]) -> str:
    """One entry in words.

    Args:
        line: See :func:`explanations`.
    """
    return f"user {line['user']}, {line['rank']}. {line['title']}: {line['text']}"


def page(label: str, dataset: str, lines: Sequence[dict[str, Any]]) -> str:
    """Write explanations as a page.

    Args:
        label: The run, as ``DVR-BPR``.
        dataset: Name of the dataset.
        lines: See :func:`explanations`.
    """
    users: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        users.setdefault(line["user"], []).append({**line, "shown_score": signed(line["score"])})
    return rendered(
        "reasons.html.j2",
        title=f"Why these items? {label} on {dataset}",
        users=[
            {
                "name": user,
                "history": entries[0]["history"],
                "valuable": entries[0]["valuable"],
                "lines": entries,
            }
            for user, entries in users.items()
        ],
        largest=_largest(lines),
    )


def _largest(lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The longest bar of each kind."""
    keys = {"removal": "loss", "valuable": "value"}
    return {
        name: max([abs(e[key]) for line in lines for e in line[name] or ()] + [1e-300])
        for name, key in keys.items()
    }
