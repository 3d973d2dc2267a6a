"""Loaders that slice tensors, in place of RecBole's, which gather rows and negatives in Python.

:class:`FastTrainLoader` gives batches of the same distribution as RecBole's ``TrainDataLoader``;
:class:`FullRankingLoader` gives the very batches of its ``FullSortEvalDataLoader``, in other sizes.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.data.utils import create_samplers, get_dataloader
from recbole.evaluator.register import metric_types
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.sampler import KGSampler
from recbole.utils import EvaluatorType, FeatureSource, FeatureType, InputType, ModelType
from torch import Tensor

from recbole_enhance.data.blocks import Blocks
from recbole_enhance.data.candidates import read_candidates
from recbole_enhance.data.negatives import NegativeSampler, uniform_outside
from recbole_enhance.data.user_lists import UserLists
from recbole_enhance.options.errors import InputError, OptionError

logger = logging.getLogger("recbole_enhance")
RankingBatch = tuple[Interaction, tuple[Tensor, Tensor] | None, Tensor, Tensor]
LOG_Q = "negative_log_q"  # column of a batch: log-probability of its negatives
# One batch on a CPU: a few caches' worth, below where every allocation faults new pages; of scores,
# or of pairs that a model sends through layers of its own (NeuMF's evaluation takes 2.6 times as
# long with four times as many).
_CPU_BLOCK_BYTES, _CPU_BLOCK_PAIRS = 12 << 20, 1 << 16
# Scores, their copy in top-k, and masks; or the repeated inputs of a model that scores pairs.
_BYTES_PER_SCORE, _BYTES_PER_PAIR = 16, 128


def prepare_data(config: Any, dataset: Any, parts: Any = None) -> tuple[Any, Any, Any]:
    """Split a dataset and make its loaders; RecBole's ``data_preparation`` with ours in place.

    Args:
        config: The run's settings. ``fast`` false keeps RecBole's training loader, whose random
            numbers are those of a plain RecBole run.
        dataset: RecBole's dataset.
        parts: What its ``build`` returned; None calls it.

    Returns:
        Training, validation and test loader.

    Raises:
        ValueError: If nothing is held out for the test, or no negative can be drawn.
    """
    parts = parts or dataset.build()
    kinds = [get_dataloader(config, phase) for phase in ("train", "valid", "test")]
    fast = config["fast"] and config["single_spec"] and kinds[0] is TrainDataLoader
    draws = [_draws(config, phase) for phase in ("valid", "test")]
    ours = [
        fast,
        *(kind is FullSortEvalDataLoader or drawn for kind, drawn in zip(kinds[1:], draws)),
    ]
    # RecBole's samplers hold a set of items per user and phase: not made where none is used.
    samplers = (None,) * 3 if all(ours) else create_samplers(config, dataset, parts)
    if config["MODEL_TYPE"] == ModelType.KNOWLEDGE:
        negatives = config["train_neg_sample_args"]
        entities = KGSampler(dataset, negatives["distribution"], negatives["alpha"])
        train = kinds[0](config, parts[0], samplers[0], entities, shuffle=True)
    else:
        kind = FastTrainLoader if fast else kinds[0]
        train = kind(config, parts[0], samplers[0], shuffle=config["shuffle"])
    if len(parts[2]) == 0:
        raise OptionError("eval_args.split", config["eval_args"]["split"], "leaves nothing to test")
    evaluation: list[Any] = []
    for n in (1, 2):
        if ours[n]:
            known, phase = (config, parts[n], parts[:n]), ("valid", "test")[n - 1]
            draw = draws[n - 1]
            evaluation.append(CandidateLoader(*known, phase) if draw else FullRankingLoader(*known))
        else:
            evaluation.append(kinds[n](config, parts[n], samplers[n], shuffle=False))
        evaluation[-1].known = parts[:n]  # what may be read
    _tell_who_is_not_ranked(config, dataset, evaluation)
    return train, evaluation[0], evaluation[1]


def _draws(config: Any, phase: str) -> bool:
    """Whether held-out items are ranked among sampled ones."""
    return str(config["eval_args"]["mode"][phase]).startswith(("uni", "pop"))


def _tell_who_is_not_ranked(config: Any, dataset: Any, evaluation: Sequence[Any]) -> None:
    """Log which held-out pairs and users are in no result."""
    is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    if repeated := getattr(evaluation[1], "n_repeated", 0):
        logger.warning(
            "%d of %d test interactions repeat an earlier pair of user and item: not ranked, not "
            "counted (rm_dup_inter=first keeps each pair once; %s ranks them)",
            repeated,
            len(evaluation[1]._dataset),
            "mask_history=false" if is_sequential else "repeatable=true",
        )
    users = getattr(evaluation[1], "uid_list", None)
    n_users = dataset.user_num - 1
    if users is None:
        ranked = getattr(evaluation[1], "ranked", slice(None))
        users = evaluation[1]._dataset.inter_feat[dataset.uid_field][ranked].unique()
    if len(users) == 0:
        raise InputError(
            "eval_args: nothing to test: all test interactions repeat earlier pairs of user "
            "and item (rm_dup_inter, repeatable, mask_history)"
        )
    if missing := n_users - len(users):
        logger.info("%d of %d users have no test interaction and do not count", missing, n_users)


def take(interaction: Interaction, index: Tensor) -> Interaction:
    """Rows of an interaction, by a tensor of row numbers (RecBole goes through a list)."""
    columns = interaction.interaction.items()
    return Interaction({name: column.index_select(0, index) for name, column in columns})


def join(dataset: Any, interaction: Interaction) -> Interaction:
    """Add the columns of the users and items, in place; as RecBole's ``Dataset.join``."""
    for features, field in (
        (dataset.user_feat, dataset.uid_field),
        (dataset.item_feat, dataset.iid_field),
    ):
        if features is not None and field in interaction:
            interaction.update(take(features, interaction[field]))
    return interaction


class FastTrainLoader(TrainDataLoader):
    """RecBole's training loader, without Python code per row.

    An epoch is one permutation and one draw of all negatives, from :attr:`generator` alone; a
    checkpoint keeps its state. A positive and its negatives are in one batch.

    Attributes:
        samples: Whether batches have negatives.
        dynamic: Whether RecBole's dynamic sampling finds them.
        windows: Draws the order of the rows where some must stand together; else None.
    """

    def __init__(
        self, config: Any, dataset: Any, sampler: Any = None, shuffle: bool = True
    ) -> None:
        self.windows: Any = None
        super().__init__(config, dataset, sampler, shuffle=shuffle)
        arguments = self.neg_sample_args
        self.samples = "none" not in (arguments["distribution"], arguments["sample_num"])
        self.dynamic = self.samples and bool(arguments["dynamic"])
        self._adds_log_q = False
        if self.samples:
            self._sampler = NegativeSampler(
                dataset, arguments["distribution"], arguments["alpha"], bool(config["repeatable"])
            )

    def use(self, sampler: Any, num: int | None = None, log_q: bool = False) -> None:
        """Draw with a method's own sampler from the next epoch on.

        Args:
            sampler: With the ``draw`` of :class:`NegativeSampler`, its ``per_batch``, and its
                ``log_q`` if that is wanted.
            num: Negatives per positive; None leaves what ``train_neg_sample_args`` say. Unlike
                there, ``train_batch_size`` stays the number of positives.
            log_q: Whether batches have the column :data:`LOG_Q`.
        """
        self._sampler, self._adds_log_q = sampler, log_q
        if num is not None:
            self.neg_sample_num = self.times = num

    def __iter__(self) -> Iterator[Interaction]:
        rows, features = len(self._dataset.inter_feat), self._dataset.inter_feat
        negatives = None
        if self.samples and not (self.dynamic or self._sampler.per_batch):
            # In the order of the rows, which are the users': their look-ups stay in the cache.
            negatives = self._sampler.draw(
                features[self.uid_field],
                features[self.iid_field],
                self.neg_sample_num,
                self.generator,
            )
        order = torch.arange(rows)
        if self.windows is not None:
            order = self.windows.shuffled(self.generator)
        elif self.shuffle:
            order = torch.randperm(rows, generator=self.generator)
        for index in order.split(self.step):
            batch = self.transform(self._dataset, join(self._dataset, take(features, index)))
            if self.samples:
                own = None if negatives is None else negatives.index_select(1, index)
                drawn = self._draw_for(batch) if own is None else own.flatten()
                batch = self._add(batch, drawn)
                if self._adds_log_q:
                    log_q = self._sampler.log_q(batch[self.uid_field], drawn).float()
                    batch.update(Interaction({LOG_Q: log_q}))
            yield batch

    def _draw_for(self, batch: Interaction) -> Tensor:
        """Draw negatives that depend on the current model."""
        if self.dynamic:
            return self._hardest(batch)
        users, positives = batch[self.uid_field], batch[self.iid_field]
        drawn = self._sampler.draw(users, positives, self.neg_sample_num, self.generator)
        return drawn.flatten()

    def _add(self, batch: Interaction, negatives: Tensor) -> Interaction:
        """Put the negatives beside the positives, or below them with labels."""
        n, batch = len(batch), batch if self.times == 1 else batch.repeat(self.times)
        if self.dl_format == InputType.PAIRWISE:
            rows = join(self._dataset, Interaction({self.iid_field: negatives}))
            rows.add_prefix(self.neg_prefix)
            batch.update(rows)
            return batch
        batch[self.iid_field][n:] = negatives
        batch = join(self._dataset, batch)
        label = torch.zeros(len(batch))
        label[:n] = 1.0
        batch.update(Interaction({self.label_field: label}))
        return batch

    @torch.no_grad()
    def _hardest(self, batch: Interaction) -> Tensor:
        """RecBole's dynamic sampling: of ``candidate_num`` draws the one that scores highest."""
        users, positives = batch[self.uid_field], batch[self.iid_field]
        n_candidates = self.neg_sample_args["candidate_num"]
        drawn = self._sampler.draw(
            users, positives, n_candidates * self.neg_sample_num, self.generator
        )
        pairs = batch.repeat(len(drawn))
        pairs.update(Interaction({self.iid_field: drawn.flatten()}))
        pairs = join(self._dataset, pairs)
        self.model.eval()
        scores = self.model.predict(pairs.to(self.model.device)).cpu()
        self.model.train()
        drawn = drawn.view(n_candidates, -1)
        best = scores.view(n_candidates, -1).argmax(0, keepdim=True)
        return drawn.gather(0, best).squeeze(0)


class FullRankingLoader(Blocks, FullSortEvalDataLoader):
    """Users with held-out items, to be ranked against all items they are not known to have.

    Args:
        config: The run's settings. Batches fill ``eval_memory_mb`` on a GPU and a few caches on a
            CPU, unless the user sets ``eval_batch_size``. ``mask_history`` decides whether a
            sequential model may recommend what the user already has (RecBole lets it).
        dataset: The built part that holds the positives.
        known: The parts before it.

    A general model never ranks what the user had before, unless ``repeatable`` says so, and a
    sequential one only without ``mask_history``: held-out pairs that are known are no positives.

    Attributes:
        labelled: Batches with labels, if value metrics stand beside the ranking ones; else None.
        n_repeated: Held-out interactions that are not ranked, as the user had the item before.
        ranked: Rows of all others.
    """

    def __init__(self, config: Any, dataset: Any, known: Sequence[Any]) -> None:
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        self.positives = UserLists.of_datasets([dataset])
        self.history, self.n_repeated, self.ranked = None, 0, torch.arange(len(dataset))
        if config["mask_history"] if self.is_sequential else not config["repeatable"]:
            self.history = UserLists.of_datasets(known)
            users, items = (dataset.inter_feat[name] for name in (self.uid_field, self.iid_field))
            self.ranked = (~self.history.holds(users, items)).nonzero().squeeze(1)
            self.n_repeated = len(dataset) - len(self.ranked)
            if self.n_repeated:
                self.positives = UserLists.of_datasets([dataset], without=self.history)
        self.labelled = LabelledLoader(config, dataset, known) if _has_values(config) else None
        if self.is_sequential:
            self.sample_size = len(self.ranked)
        else:
            self.uid_list = self.positives.counts.nonzero().squeeze(1)
            self.user_df = join(dataset, Interaction({self.uid_field: self.uid_list}))
            self.sample_size = len(self.uid_list)
        AbstractDataLoader.__init__(self, config, dataset, None, shuffle=False)

    def _init_batch_size_and_step(self) -> None:
        if self.config.options["eval_batch_size"] is not None:
            super()._init_batch_size_and_step()
            return
        self.step = rows_in_memory(self.config, self._dataset.item_num)
        self.set_batch_size(self.step)

    def __iter__(self) -> Iterator[RankingBatch]:
        for index in self.blocks(self.sample_size):
            yield self._rows(index) if self.is_sequential else self.users(self.uid_list[index])

    def users(self, users: Tensor) -> RankingBatch:
        """One batch of some users: their columns, what is not ranked, and their positives."""
        interaction = join(self._dataset, Interaction({self.uid_field: users}))
        history = None if self.history is None else self.history.of(users)
        return (interaction, history, *self.positives.of(users))

    def _rows(self, index: Tensor) -> RankingBatch:
        batch = join(self._dataset, take(self._dataset.inter_feat, self.ranked[index]))
        batch = self.transform(self._dataset, batch)
        history = None if self.history is None else self.history.of(batch[self.uid_field])
        return batch, history, torch.arange(len(index)), batch[self.iid_field]

    def held_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """Everything that is ranked at once: users of the rows, and row and item of each positive.

        Shape: ``(rows,)``, ``(positives,)``, ``(positives,)``.
        """
        if self.is_sequential:
            features = take(self._dataset.inter_feat, self.ranked)
            users = features[self.uid_field]
            return users, torch.arange(len(users)), features[self.iid_field]
        return (self.uid_list, *self.positives.of(self.uid_list))

    def never_ranked(self, users: Tensor, items: Tensor) -> Tensor:
        """Which pairs are in no list of a model. Shape of all three: ``(pairs,)``."""
        if self.history is None:
            return torch.zeros(len(users), dtype=torch.bool)
        return self.history.holds(users, items)

    @property
    def uid2history_item(self) -> np.ndarray:
        """What is not ranked, for each user; RecBole's ``case_study`` asks by a list of users."""
        users = torch.arange(self._dataset.user_num)
        lists = self.history or UserLists(users[:0], users[:0], len(users), self._dataset.item_num)
        own = np.empty(len(users), dtype=object)
        own[:] = lists.of(users)[1].split(lists.counts.tolist())
        return own


class CandidateLoader(Blocks, AbstractDataLoader):
    """Users with held-out items, each ranked among sampled ones: ``uniN`` and ``popN``.

    RecBole's ``NegSampleEvalDataLoader`` draws at each evaluation; here the candidates are drawn
    once, by ``seed``, so that a model has one value, and two models stand before the same choice.
    The law is RecBole's: N independent draws for each held-out interaction, over the items that
    the user has in no part so far; with ``repeatable`` (sequential models) over all but the item.
    ``eval_candidates_file`` takes the place of the draw.

    Args:
        config: The run's settings.
        dataset: The built part that holds the positives.
        known: The parts before it, the training one first.
        phase: ``valid`` or ``test``: whose ``eval_args.mode`` counts.

    Attributes:
        candidates: Items beside the held-out one of each row of :attr:`rows`. Shape: ``(N, rows)``.
        rows: The held-out interactions, by user.
        uid_list: Their users, rising.
        n_repeated: Held-out interactions that are not ranked, as the user had the item before.
    """

    def __init__(self, config: Any, dataset: Any, known: Sequence[Any], phase: str) -> None:
        mode = str(config["eval_args"]["mode"][phase])
        distribution = {"uni": "uniform", "pop": "popularity"}[mode[:3]]
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.label_field = config["LABEL_FIELD"]
        dataset.set_field_property(
            self.label_field, FeatureType.FLOAT, FeatureSource.INTERACTION, 1
        )
        users, number = dataset.inter_feat[self.uid_field], int(mode[3:])
        order = torch.argsort(users, stable=True)
        repeatable = bool(config["repeatable"])
        before = UserLists.of_datasets(known)
        if not repeatable and config["MODEL_TYPE"] != ModelType.SEQUENTIAL:
            had = before.holds(users, dataset.inter_feat[self.iid_field])
            order = order[~had[order]]
        self.n_repeated = len(users) - len(order)
        self.rows = take(dataset.inter_feat, order)
        used = UserLists.of_datasets([*known, dataset])
        users, items = self.rows[self.uid_field], self.rows[self.iid_field]
        if config["eval_candidates_file"]:
            path, lists = Path(config["eval_candidates_file"]), None if repeatable else used
            self.candidates = read_candidates(path, phase, number, self.rows, dataset, lists)
        else:
            sampler = NegativeSampler(
                known[0],
                distribution,
                repeatable=repeatable,
                used=used,
                option=f"eval_args.mode={mode}",
            )
            # Streams of their own: neither training nor the other phase moves them.
            generator = torch.Generator().manual_seed(2 * config["seed"] + (phase == "test"))
            self.candidates = sampler.draw(users, items, number, generator)
        self.uid_list, self._sizes = torch.unique_consecutive(users, return_counts=True)
        self._tell_short_choices(config, mode)
        self._start = self._sizes.cumsum(0) - self._sizes
        self.sample_size = len(self.uid_list)
        AbstractDataLoader.__init__(self, config, dataset, None, shuffle=False)

    def _tell_short_choices(self, config: Any, mode: str) -> None:
        """Warn where a list holds all candidates, so that its order is all that counts."""
        longest = max(config["topk"])
        short = int((self._sizes * (1 + len(self.candidates)) <= longest).sum())
        if short and config["eval_type"] == EvaluatorType.RANKING:
            logger.warning(
                "topk=%s: %d of %d users have no more than %d candidates with eval_args.mode=%s: "
                "their recall is 1 whatever the model does",
                config["topk"],
                short,
                len(self._sizes),
                longest,
                mode,
            )

    def _init_batch_size_and_step(self) -> None:
        largest = int(self._sizes.max()) if len(self._sizes) else 1
        pairs = largest * (1 + len(self.candidates))
        by_scores = rows_in_memory(self.config, self._dataset.item_num)
        self.step = max(1, min(by_scores, self.config["eval_batch_size"] // pairs))
        self.set_batch_size(self.step)

    def __iter__(self) -> Iterator[tuple[Interaction, Tensor, Tensor, Tensor]]:
        for index in self.blocks(self.sample_size):
            yield self._users(index)

    def held_out(self) -> tuple[Tensor, Tensor, Tensor]:
        """As of :class:`FullRankingLoader`."""
        rows = torch.repeat_interleave(torch.arange(self.sample_size), self._sizes)
        return self.uid_list, rows, self.rows[self.iid_field]

    def never_ranked(self, users: Tensor, items: Tensor) -> Tensor:
        """As of :class:`FullRankingLoader`: here, what is none of the user's candidates."""
        own, n_items = self.rows[self.uid_field], self._dataset.item_num
        ranked = torch.cat([self.rows[self.iid_field], self.candidates.flatten()])
        of = own.repeat(1 + len(self.candidates))
        candidates = UserLists(of, ranked, self._dataset.user_num, n_items)
        return ~candidates.holds(users, items)

    def _users(self, index: Tensor) -> tuple[Interaction, Tensor, Tensor, Tensor]:
        """Some users' pairs, positives before candidates, and the row of each pair."""
        own = self._sizes[index]
        rows = torch.repeat_interleave(torch.arange(len(index)), own)
        start = int(self._start[index[0]])
        place = torch.arange(start, start + len(rows))
        n, times = len(rows), 1 + len(self.candidates)
        positives = self.transform(self._dataset, take(self.rows, place))
        # By user, and stable: a user's positives come first.
        order = torch.argsort(rows.repeat(times), stable=True)
        items = torch.cat([positives[self.iid_field], self.candidates[:, place].flatten()])[order]
        pairs = take(positives, order % n)
        pairs.update(Interaction({self.iid_field: items}))
        pairs = join(self._dataset, pairs)
        pairs.update(Interaction({self.label_field: (order < n).float()}))
        return pairs, rows.repeat(times)[order], rows, positives[self.iid_field]


def rows_in_memory(config: Any, n_items: int) -> int:
    """How many users' scores make one batch.

    Args:
        config: The run's settings, with ``eval_memory_mb``.
        n_items: Scores per user.
    """
    by_pairs = config.model_class.full_sort_predict is AbstractRecommender.full_sort_predict
    budget = config["eval_memory_mb"] * 2**20 / (_BYTES_PER_PAIR if by_pairs else _BYTES_PER_SCORE)
    if config["device"].type == "cpu":
        budget = min(budget, _CPU_BLOCK_PAIRS if by_pairs else _CPU_BLOCK_BYTES / 4)
    return max(1, int(budget / n_items))


def _has_values(config: Any) -> bool:
    return any(metric_types[name.lower()] == EvaluatorType.VALUE for name in config["metrics"])


class LabelledLoader(Blocks):
    """Held-out interactions with labels, for value metrics beside a full ranking.

    Where the data have labels, those count. Elsewhere each held-out interaction is a 1, and one
    uniform item that the user has nowhere up to here is a 0; drawn by ``seed`` once, the same at
    each call.

    Args:
        config: The run's settings.
        dataset: The built part that is evaluated.
        known: The parts before it.
    """

    def __init__(self, config: Any, dataset: Any, known: Sequence[Any]) -> None:
        self.dataset, self.step, label = dataset, config["eval_batch_size"], config["LABEL_FIELD"]
        self.rows = dataset.inter_feat
        if label in self.rows:
            return
        used = UserLists.of_datasets([*known, dataset])
        # A user with all items has no negative, and no row.
        users = self.rows[dataset.uid_field]
        open_rows = (used.counts[users] < dataset.item_num - 1).nonzero().squeeze(1)
        n, users = len(open_rows), users[open_rows]
        self.rows = take(self.rows, open_rows).repeat(2)
        generator = torch.Generator().manual_seed(config["seed"])
        self.rows[dataset.iid_field][n:] = uniform_outside(used, users, generator)
        self.rows[label] = (torch.arange(2 * n) < n).float()

    def __iter__(self) -> Iterator[Interaction]:
        for index in self.blocks(len(self.rows)):
            yield join(self.dataset, take(self.rows, index))
