"""Lists of a finished run, for its users or for new ones, batch by batch."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from recbole_enhance.data.loaders import rows_in_memory
from recbole_enhance.experiment.assembly import Run
from recbole_enhance.experiment.quick_start import finished_run, load_run
from recbole_enhance.experiment.titles import shown_titles
from recbole_enhance.options.errors import OptionError
from recbole_enhance.recommendation.files import (
    ITEM,
    USER,
    Given,
    ids_of,
    read_histories,
    read_tokens,
    sequences_from,
)
from recbole_enhance.recommendation.histories import HISTORIES
from recbole_enhance.recommendation.new_users import NewUsers
from recbole_enhance.recommendation.scoring import KnownUsers, dataset_of
from recbole_enhance.recommendation.writing import ENDINGS, growing_table
from recbole_enhance.storage.outputs import output_file

logger = logging.getLogger("recbole_enhance")
Tokens = Sequence[str] | str | Path | None  # tokens, one token, or a file of them


def recommend(
    run: Run | str | Path,
    users: Tokens = None,
    k: int = 10,
    *,
    titles: str | None = "auto",
    exclude: Tokens = None,
    only_items: Tokens = None,
    filter_seen: bool = True,
    history: str = "all",
    read_known: bool | None = None,
    histories: pd.DataFrame | Mapping[str, Sequence[str]] | str | Path | None = None,
    out: str | Path | None = None,
    model_class: str | type | None = None,
    method: Any = None,
    quiet: bool = True,
) -> pd.DataFrame | None:
    """Recommend items to users, with the model of a finished run.

    Args:
        run: Its folder, or the result of :func:`~recbole_enhance.experiment.quick_start.load_run`.
        users: Ids of users, or the path of a file with one id on each line; None is all users.
        k: Length of the lists. A list is shorter if fewer items are allowed.
        titles: Column of titles in the ``.item`` file; ``auto`` uses the first of title,
            movie_title and name, if there is one; None leaves titles out.
        exclude: Items to leave out, as ids or the path of a file.
        only_items: Items to recommend from, as ids or the path of a file.
        filter_seen: Whether the items in the user's history are left out.
        history: The user's history, which a sequential model also reads: ``all`` interactions in
            the data, ``train+valid`` (the history of the run's test) or ``train``.
        read_known: Whether models that compute scores from a history (RVRec, item-based ones,
            autoencoders) read that history, not only its training part; None is as the run did.
        histories: Users who are not in the data, and their items: a table with the columns user_id,
            item_id and optionally timestamp; a mapping from users to items, oldest first; or a
            file, see :func:`~.files.read_histories`. Used instead of ``users``.
        out: File for the lists, ``.csv``, ``.parquet`` or ``.jsonl``. With it, nothing is returned.
        model_class: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        method: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        quiet: Whether there is no progress bar.

    Returns:
        One row per recommended item: ``user_id``, ``item_id``, ``score``, ``rank`` from 1,
        ``title`` if asked for, and for new users ``how``: ``exact``, or ``fold-in`` if their
        vector was fitted. None with ``out``.

    Raises:
        InputError: If there is no such run, user, item, column or file, or the model cannot
            recommend to new users.
    """
    path = None if out is None else output_file("out", out, ENDINGS)
    if histories is not None and users is not None:
        raise OptionError("histories", "given", "are of users who are not in the data: no users")
    if history not in HISTORIES:
        raise OptionError("history", history, f"one of {', '.join(HISTORIES)}")
    run = open_run(run, model_class, method)
    lists = Lists(run, k, exclude, only_items, titles)
    people, rows = _people(run, users, histories, (history, filter_seen, read_known))
    pieces = lists.pieces(people, rows, quiet)
    if path is None:
        return pd.concat(map(_spelled, pieces), ignore_index=True)
    with growing_table(path) as write:
        for piece in pieces:
            write(piece)
    return None


def open_run(
    run: Run | str | Path, model_class: str | type | None = None, method: Any = None
) -> Run:
    """Load a run that has a model; of a run that is not finished, with a warning, its best so far.

    Raises:
        InputError: If there is none, or its data are not there any more or others.
    """
    if isinstance(run, Run):
        return run
    folder = finished_run(run)
    if not folder.finished:
        logger.warning("%s: not finished; its best epoch so far is taken", folder.path)
    return load_run(run, model_class, method)


class Lists:
    """What lists may hold, and how their rows are written.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        k: Length of the lists.
        exclude: See :func:`recommend`.
        only_items: See :func:`recommend`.
        titles: See :func:`recommend`.

    Raises:
        InputError: If an item is unknown, there is no such column, or k is no length of a list.
    """

    def __init__(
        self,
        run: Run,
        k: int,
        exclude: Tokens = None,
        only_items: Tokens = None,
        titles: str | None = "auto",
    ) -> None:
        self._run, self._k = run, k
        dataset = dataset_of(run)
        allowed = torch.ones(dataset.item_num, dtype=torch.bool)
        if only_items is not None:
            allowed[:] = False
            allowed[ids_of(dataset, dataset.iid_field, given(only_items, "only_items"), "item")] = (
                True
            )
        if exclude is not None:
            allowed[ids_of(dataset, dataset.iid_field, given(exclude, "exclude"), "item")] = False
        allowed[0] = False
        n_allowed = int(allowed.sum())
        if type(k) is not int or not 0 < k <= n_allowed:
            raise OptionError(
                "k", k, f"from 1 to {n_allowed}, the number of items that are allowed"
            )
        blocked = ~allowed
        blocked[0] = False
        self._blocked = blocked.to(run.config["device"]) if blocked.any() else None
        ids = torch.arange(dataset.item_num)
        self._items = dataset.id2token(dataset.iid_field, ids.numpy()).astype(object)
        self._titles: Any = None
        names = shown_titles(run, titles, ids)
        if names is not None:
            # Two items may have one title.
            self._titles = pd.factorize(pd.Series([names[i] for i in ids.tolist()], dtype=object))

    def pieces(self, people: Any, rows: Tensor, quiet: bool = True) -> Iterator[pd.DataFrame]:
        """The lists of users, a batch at a time, as :func:`recommend` returns them.

        Args:
            people: :class:`~.scoring.KnownUsers` or :class:`~.new_users.NewUsers`.
            rows: Which of them. Shape: ``(users,)``.
            quiet: Whether there is no progress bar.
        """
        collector = self._run.trainer.eval_collector
        with tqdm(
            total=len(rows),
            disable=True if quiet else None,  # None: where there is no terminal
            unit="user",
            desc="recommend",
            dynamic_ncols=True,
        ) as bar:
            for users in rows.split(rows_in_memory(self._run.config, len(self._items))):
                scores = people.scores(users)
                if self._blocked is not None:
                    scores.masked_fill_(self._blocked, -torch.inf)
                values, items = collector.lists(scores, people.of_train(users), self._k)
                yield self._table(people, users, values.cpu().numpy(), items.cpu().numpy())
                bar.update(len(users))

    def _table(
        self, people: Any, users: Tensor, values: np.ndarray, items: np.ndarray
    ) -> pd.DataFrame:
        row, place = np.nonzero(values > -np.inf)
        item = items[row, place]
        # As numbers of tokens, which a table of millions of rows is written from in less time.
        table = pd.DataFrame(
            {
                USER: pd.Categorical.from_codes(row, people.tokens(users)),
                ITEM: pd.Categorical.from_codes(item, self._items),
                "score": values[row, place],
                "rank": place + 1,
            }
        )
        if self._titles is not None:
            title, titles = self._titles
            table["title"] = pd.Categorical.from_codes(title[item], titles)
        if people.how is not None:
            table["how"] = people.how
        return table


def _spelled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with text in place of categories."""
    kinds = {name: object for name in table if table[name].dtype == "category"}
    return table.astype(kinds)


def given(tokens: Sequence[str] | str | Path, option: str) -> Given:
    """Tokens as they are, or of a file.

    Args:
        tokens: Text is a token, a path a file.
        option: What names them.

    Raises:
        InputError: If there are none.
    """
    if isinstance(tokens, Path):
        return read_tokens(tokens, option)
    tokens = [tokens] if isinstance(tokens, str) else [str(token) for token in tokens]
    if not tokens:
        raise OptionError(option, "[]", "at least one is expected")
    return Given(tokens, None, option)


def _people(
    run: Run, users: Tokens, histories: Any, known: tuple[str, bool, bool | None]
) -> tuple[Any, Tensor]:
    """The users who get a list."""
    dataset, (history, filter_seen, read_known) = dataset_of(run), known
    if histories is not None:
        source = histories if isinstance(histories, (str, Path)) else "histories"
        if isinstance(histories, (str, Path)):
            histories = read_histories(histories)
        elif isinstance(histories, Mapping):
            pairs = [(user, item) for user, items in histories.items() for item in items]
            histories = pd.DataFrame(pairs, columns=[USER, ITEM])
        if not len(histories):
            raise OptionError("histories", "given", "they contain no item")
        names, sequences = sequences_from(histories, dataset, source)
        return NewUsers(run, names, sequences, filter_seen), torch.arange(len(names))
    people = KnownUsers(run, history, filter_seen, read_known)
    if users is None:
        rows = people.can.nonzero().squeeze(1)
        without = dataset.user_num - 1 - len(rows)
        if without:
            logger.warning("%d users have no history in %s and get no list", without, history)
        return people, rows
    named = given(users, "users")
    rows = ids_of(dataset, dataset.uid_field, named, "user")
    without = rows[~people.can[rows]]
    if len(without):
        token = dataset.id2token(dataset.uid_field, int(without[0]))
        raise OptionError(
            named.option, token, f"has no history in {history}, and the model needs one"
        )
    return people, rows
