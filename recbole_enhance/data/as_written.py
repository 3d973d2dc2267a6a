"""RecBole's datasets, read exactly as the files are written and ordered by exact times.

Mixed in front of any of RecBole's dataset classes by :func:`as_written`.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import Dataset, SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType

from recbole_enhance.data import splits
from recbole_enhance.data.account import CLEANED, Account, Counts
from recbole_enhance.data.named_columns import refuse_bad_columns
from recbole_enhance.data.reading import read_atomic, read_header
from recbole_enhance.data.rows import (
    FILE_ROW,
    by_first_appearance,
    reorder,
    stable_order,
    train_on_validation,
    weigh_rows,
)
from recbole_enhance.data.table_cache import cache_folder, read_through
from recbole_enhance.options.errors import DataError, OptionError

logger = logging.getLogger("recbole_enhance")
_FILTERS = ("user_inter_num_interval", "item_inter_num_interval")
_ANY_NUMBER = "[0,inf)"  # RecBole's default


class AsWritten(Dataset):
    """What RecBole's ``Dataset`` does, without its faults in reading, ordering and filtering.

    Attributes:
        account: What became of the rows; the parts of the split share it.
        keeps_file_rows: Whether the parts have them as column :data:`FILE_ROW`.
    """

    account: Account
    keeps_file_rows = False

    @property
    def file_rows(self) -> np.ndarray:
        """Row of each interaction in the files, from 0, before a split. Shape: ``(rows,)``."""
        return (
            np.arange(self.account.read.interactions)
            if self._kept_rows is None
            else self._kept_rows
        )

    # ---- reading ---------------------------------------------------------------------------

    def _get_preset(self) -> None:
        super()._get_preset()
        self.account = Account()
        self._kept_rows: np.ndarray | None = None  # all

    def _load_data(self, token: str, dataset_path: str) -> None:
        super()._load_data(token, dataset_path)
        self.account.read_cleaning(Path(dataset_path, f"{token}{CLEANED}"))
        ids = self.inter_feat[self.uid_field], self.inter_feat[self.iid_field]
        self.account.read = self.account.kept = Counts.of(*ids)
        if not len(self.inter_feat):
            raise DataError(Path(dataset_path, f"{token}.inter"), "has no interactions")
        refuse_bad_columns(self)

    def _load_feat(self, filepath: str, source: Any) -> pd.DataFrame | None:
        load, unload = self._get_load_and_unload_col(source)
        if load == set():
            return None
        config, path = self.config, Path(filepath)
        kinds = read_header(path, config["field_separator"], config["encoding"])
        names = [
            name
            for name in kinds
            if (load is None or name in load) and not (unload and name in unload)
        ]
        if not names:
            logger.warning("%s: no column is loaded (load_col, unload_col)", path)
            return None
        for name in names if source != "link" else ():
            kind = self.field2type[name] = FeatureType(kinds[name])
            self.field2source[name] = source
            if not kind.value.endswith("seq"):
                self.field2seqlen[name] = 1
            if "float" in kind.value:
                self.field2bucketnum[name] = 2
        interactions = source == FeatureSource.INTERACTION
        table = read_through(
            cache_folder(config["data_cache"]),
            path,
            names,
            separator=config["field_separator"],
            seq_separator=config["seq_separator"],
            encoding=config["encoding"],
            required=self._filled_columns(names) if interactions else (),
            coded=isinstance(source, FeatureSource),  # not of graphs, which RecBole edits
        )
        self.account.files[path.name] = len(table)
        for name in names:
            if kinds[name] == "float" and not (interactions and name == self.time_field):
                table[name] = table[name].astype(np.float64)
            elif kinds[name].endswith("seq"):
                longest = max(map(len, table[name]), default=0)
                at_most = (config["seq_len"] or {}).get(name, longest)
                if at_most < longest:  # of a history its last items; RecBole keeps the first
                    last = name.endswith(str(config["LIST_SUFFIX"]))
                    kept = slice(-at_most, None) if last else slice(at_most)
                    table[name] = [sequence[kept] for sequence in table[name]]
                self.field2seqlen[name] = min(at_most, longest)
        return table

    def _filled_columns(self, names: list[str]) -> list[str]:
        """Columns of interactions in which no cell can be empty, beside the ids."""
        history = f"{self.iid_field}{self.config['LIST_SUFFIX']}"
        ready_made = [history] if self.benchmark_filename_list else []
        needed = [n for n in (self.config["interaction_weight_field"], *ready_made) if n in names]
        return [*needed, self.time_field] if self._needs_times() else needed

    def _needs_times(self) -> bool:
        """Whether rows are ordered by time, so that none can be without."""
        ordered = self.config["eval_args"]["order"] == "TO" and not self.benchmark_filename_list
        return ordered or self.config["rm_dup_inter"] is not None

    def _load_user_or_item_feat(self, *args: Any) -> pd.DataFrame | None:
        features = super()._load_user_or_item_feat(*args)
        if features is not None:
            field = getattr(self, args[-1])
            if features[field].isna().any():
                logger.warning(".%s: rows without %s removed", args[2].value, field)
                features = features.dropna(subset=[field])
        return features

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        super()._load_inter_feat(token, dataset_path)
        if self.benchmark_filename_list is None:
            return
        for name in self.benchmark_filename_list:  # RecBole filters nothing here
            self._refuse_missing_ids(Path(dataset_path, f"{token}.{name}.inter"))

    def _refuse_missing_ids(self, path: Path) -> None:
        config, ids = self.config, [self.uid_field, self.iid_field]
        if bool(self.inter_feat[ids].isna().any().any()):
            read_atomic(
                path,
                ids,
                separator=config["field_separator"],
                encoding=config["encoding"],
                required=ids,
            )

    # ---- filtering, with an account ----------------------------------------------------------

    def _filter_nan_user_or_item(self) -> None:
        ids = [self.uid_field, self.iid_field]
        missing = self.inter_feat[ids].isna().any(axis=1)
        if missing.any():
            logger.warning("%d interactions without %s or %s removed", int(missing.sum()), *ids)
            self.inter_feat.dropna(subset=ids, inplace=True)
        self._note("an empty id")

    def _remove_duplication(self) -> None:
        keep = self.config["rm_dup_inter"]
        if keep is None:
            return
        if self.time_field in self.inter_feat:  # stable: RecBole's order of ties is any
            self.inter_feat.sort_values(self.time_field, kind="stable", inplace=True)
        self.inter_feat.drop_duplicates([self.uid_field, self.iid_field], keep=keep, inplace=True)
        self._note(f"rm_dup_inter={keep}")

    def _filter_by_field_value(self) -> None:
        super()._filter_by_field_value()
        self._note(f"val_interval={self.config['val_interval']}")

    def _filter_inter_by_user_or_item(self) -> None:
        super()._filter_inter_by_user_or_item()
        self._note("filter_inter_by_user_or_item (no row in .user or .item)")

    def _filter_by_inter_num(self) -> None:
        """Drop users and items with fewer or more interactions than allowed, until none is left."""
        told = {name: self.config[name] for name in _FILTERS if self.config[name] != _ANY_NUMBER}
        intervals = [self._parse_intervals_str(told.get(option)) for option in _FILTERS]
        if intervals == [None, None]:
            return
        fields, features = (self.uid_field, self.iid_field), (self.user_feat, self.item_feat)
        codes, tokens = zip(*(pd.factorize(self.inter_feat[field]) for field in fields))
        banned = [np.zeros(len(names), dtype=bool) for names in tokens]
        kept = np.ones(len(self.inter_feat), dtype=bool)
        before = -1
        while before != (before := int(kept.sum())):
            fits = kept.copy()
            for code, out, interval in zip(codes, banned, intervals):
                if interval is not None:
                    counts = np.bincount(code[kept], minlength=len(out))
                    out |= (counts > 0) & ~self._within_intervals(counts, interval)
                    fits &= ~out[code]
            kept = fits
        for field, rows, names, out, interval in zip(fields, features, tokens, banned, intervals):
            if rows is None or interval is None:
                continue
            gone = rows[field].isin(names[out])
            if interval[0][1] > 0:  # a lower bound above 0
                gone |= ~rows[field].isin(self.inter_feat[field][kept])
            rows.drop(rows.index[gone], inplace=True)
        self.inter_feat.drop(self.inter_feat.index[~kept], inplace=True)
        self._note(", ".join(f"{name}={text}" for name, text in told.items() if text))

    def _filter_link(self) -> None:
        super()._filter_link()
        self._note("no entity in .link")

    def _note(self, reason: str) -> None:
        if len(self.inter_feat) == self.account.kept.interactions:
            return
        before = self.account.kept
        after = Counts.of(self.inter_feat[self.uid_field], self.inter_feat[self.iid_field])
        self.account.drop(reason, after)
        if not after.interactions:
            raise DataError(
                Path(self.dataset_path),
                f"{reason}: leaves none of {before.interactions} interactions",
            )

    def _reset_index(self) -> None:
        for name in self.feat_name_list:
            if getattr(self, name).empty:
                raise DataError(
                    Path(self.dataset_path),
                    f"no row of .{name.removesuffix('_feat')} is left by the filters",
                )
        if len(self.inter_feat) < self.account.read.interactions or self.config["rm_dup_inter"]:
            self._kept_rows = self.inter_feat.index.to_numpy()
        super()._reset_index()

    def _remap(self, remap_list: list[Any]) -> None:
        """Map tokens to the ids that RecBole gives them, by their codes as categories."""
        columns = [feat[field] for feat, field, _ in remap_list]
        if not columns or not all(isinstance(c.dtype, pd.CategoricalDtype) for c in columns):
            super()._remap(remap_list)
            return
        if len(columns) == 1:
            names: Any = columns[0].cat.categories
            codes = columns[0].cat.codes.to_numpy()
        else:
            _, names = pd.factorize(np.concatenate([c.cat.categories for c in columns]))
            places = pd.Index(names)
            codes = np.concatenate(
                [
                    np.append(places.get_indexer(c.cat.categories), -1)[c.cat.codes.to_numpy()]
                    for c in columns
                ]
            )
        stops = np.cumsum([len(c) for c in columns])[:-1]
        del columns
        ids, first = by_first_appearance(codes)
        ids += 1
        tokens = np.array(["[PAD]", *names[first]])
        by_token = dict(zip(tokens, range(len(tokens))))
        for (feat, field, _), new in zip(remap_list, np.split(ids, stops)):
            if field not in self.field2id_token:
                self.field2id_token[field] = tokens
                self.field2token_id[field] = by_token
            feat[field] = new

    def _fill_nan(self) -> None:
        for name in self.feat_name_list:
            features = getattr(self, name)
            for field in features:
                if self.field2type[field] == FeatureType.FLOAT:
                    # Rows of the padding id 0, which is not in a file, are empty as well.
                    own = {"user_feat": self.uid_field, "item_feat": self.iid_field}.get(name)
                    rows = features if own is None else features[features[own] != 0]
                    missing = int(rows[field].isna().sum())
                    if missing:
                        self.account.filled[f"{name.removesuffix('_feat')}.{field}"] = missing
        super()._fill_nan()

    def _set_label_by_threshold(self) -> None:
        """Make labels; refuse those that are all alike where they are what is evaluated."""
        super()._set_label_by_threshold()
        if "labeled" not in self.config["eval_args"]["mode"].values():
            return
        labels = self.inter_feat.get(self.label_field)
        if labels is not None and labels.nunique() == 1:
            option = "LABEL_FIELD" if self.config["threshold"] is None else "threshold"
            why = f"all {len(labels):,} interactions have the label {labels.iloc[0]:g}"
            raise OptionError(option, self.config[option], why)

    def _normalize(self) -> None:
        """Normalise what models read; weights stay as they are written."""
        field = self.config["interaction_weight_field"]
        if field is None:
            super()._normalize()
            return
        if field in (self.config["threshold"] or ()):  # RecBole takes the column away
            raise OptionError("interaction_weight_field", field, "threshold makes labels of it")
        of_items = field not in self.inter_feat
        column = (self.item_feat if of_items else self.inter_feat)[field].copy()
        super()._normalize()
        if of_items:
            lists = self.field2type[field].value.endswith("seq")
            weights = column.map(len) if lists else column
            self._item_weights = torch.from_numpy(weights.to_numpy(dtype=np.float64))
        else:
            self.inter_feat[field] = column

    # ---- order and split ---------------------------------------------------------------------

    def _dataframe_to_interaction(self, data: pd.DataFrame) -> Any:
        if not isinstance(data, pd.DataFrame):
            return super()._dataframe_to_interaction(data)
        interactions = data is self.inter_feat
        # Numbers stay where they are; RecBole copies each column, and sends it through a list.
        numbers = {
            name: torch.from_numpy(values)
            for name, values in ((name, data[name].to_numpy()) for name in data)
            if (values.dtype == np.int64 and self.field2type[name] == FeatureType.TOKEN)
            or (values.dtype.kind in "if" and interactions and name == self.time_field)
        }
        rest = super()._dataframe_to_interaction(data[[n for n in data if n not in numbers]])
        columns = {name: numbers.get(name, rest.interaction.get(name)) for name in data}
        if interactions and self.time_field in rest:  # pairs, of numerical_features
            times = np.array(data[self.time_field].tolist(), dtype=np.float64)
            columns[self.time_field] = torch.from_numpy(times)
        if interactions and self.keeps_file_rows:
            columns[FILE_ROW] = torch.from_numpy(self.file_rows)
        return Interaction(columns)

    def shuffle(self) -> None:
        """Shuffle the rows, by RecBole's own permutation."""
        reorder(self.inter_feat, torch.randperm(len(self.inter_feat)))

    def sort(self, by: Any, ascending: Any = True) -> None:
        """Sort the rows by columns, as RecBole does, but move them once."""
        names = [by] if isinstance(by, str) else list(by)
        keys = [self.inter_feat[name] for name in names if name in self.inter_feat]
        if ascending is not True or len(keys) < len(names) or any(key.dim() > 1 for key in keys):
            super().sort(by, ascending)
            return
        order = stable_order(keys[-1].numpy())
        for key in keys[-2::-1]:
            order = order[stable_order(key.numpy()[order])]
        reorder(self.inter_feat, torch.from_numpy(order))

    def build(self) -> list[Any]:
        """Order and split by the times as they are; models then get float32, as in RecBole."""
        parts = self.exact_parts()
        if self.config["interaction_weight_field"]:
            self._weigh(parts)
        if self.time_field in self.inter_feat:
            exact = self.inter_feat[self.time_field]
            times = self.inter_feat[self.time_field] = exact.float()
            for rows in (part.inter_feat for part in parts):
                own = rows[self.time_field]
                if own.untyped_storage().data_ptr() == exact.untyped_storage().data_ptr():
                    start = (own.storage_offset() - exact.storage_offset()) // exact.stride(0)
                    rows[self.time_field] = times[start : start + len(own)]
                else:
                    rows[self.time_field] = own.float()
        return parts

    def exact_parts(self) -> list[Any]:
        """Order and split by the exact times, and keep these.

        Ready-made parts are neither ordered nor split, so any ``order`` is accepted for them.
        """
        order = self.config["eval_args"]["order"]
        refused = isinstance(self, SequentialDataset) and order != "TO"  # by RecBole
        if refused and not self.benchmark_filename_list:
            why = f"{self.config['model']} takes items in the order of time: it must be TO"
            raise OptionError("eval_args.order", order, why)
        parts = Dataset.build(self) if refused else super().build()
        if self.config["train_on_validation"]:
            share, seed = self.config["train_on_validation"], self.config["seed"]
            parts = train_on_validation(parts, share, seed)
        self._count(parts)
        return parts

    def _weigh(self, parts: list[Any]) -> None:
        """Give the training interactions their weights, and take the column from the models."""
        field, training = self.config["interaction_weight_field"], parts[0]
        if hasattr(self, "_item_weights"):
            weigh_rows(training, self._item_weights[training.inter_feat[self.iid_field]])
            return
        weigh_rows(training, training.inter_feat[field])
        for name in (field, f"{field}{self.config['LIST_SUFFIX']}"):  # of a sequential model
            for part in parts:
                if name in part.inter_feat:
                    part._del_col(part.inter_feat, name)

    def _count(self, parts: list[Any]) -> None:
        protocol = self.config["eval_args"]
        ready = self.benchmark_filename_list
        split = {
            "split": "ready-made" if ready else protocol["split"],
            "order": "of the files" if ready else protocol["order"],
            "group_by": None if ready else protocol["group_by"],
            "mode": protocol["mode"],
        }
        if self.config["train_on_validation"]:
            split["train_on_validation"] = self.config["train_on_validation"]
        rows = [part.inter_feat for part in parts]
        pairs = [(row[self.uid_field].numpy(), row[self.iid_field].numpy()) for row in rows]
        self.account.catalogue = {"users": self.user_num - 1, "items": self.item_num - 1}
        self.account.count_parts(pairs, self.item_num, split)

    def split_by_ratio(self, ratios: list[float], group_by: str | None = None) -> list[Any]:
        """Split by ratios, over all rows or within groups; rows as in RecBole."""
        if group_by is None:
            return self._parts(None, splits.by_ratio(np.array([len(self)]), ratios))
        rows, sizes = splits.groups_of(self.inter_feat[group_by].numpy())
        return self._parts(rows, splits.by_ratio(sizes, ratios))

    def leave_one_out(self, group_by: str, leave_one_mode: str) -> list[Any]:
        """Hold out the last row or two of each group; rows as in RecBole."""
        rows, sizes = splits.groups_of(self.inter_feat[group_by].numpy())
        return self._parts(rows, splits.last_ones(sizes, leave_one_mode))

    def time_based_split(self, ratios: list[float], group_by: str) -> list[Any]:
        """Test what comes after a moment, validate on the last of each group before it."""
        share = np.array(ratios, dtype=float) / sum(ratios)
        rows, sizes = splits.groups_of(self.inter_feat[group_by].numpy())
        times = self.inter_feat[self.time_field].numpy()
        border = np.percentile(times, 100 * (1 - share[-1]), method="lower")
        group = np.repeat(np.arange(len(sizes)), sizes)
        before = np.bincount(group[times[rows] <= border], minlength=len(sizes))
        return self._parts(rows, splits.by_moment(sizes, before, share))

    def _parts(self, rows: np.ndarray | None, sizes: np.ndarray) -> list[Any]:
        """Sort the rows by part, and return slices of them: there is no second copy in memory.

        Args:
            rows: Row numbers by group; None is in order. Shape: ``(rows,)``.
            sizes: Rows of each part and group. Shape: ``(parts, groups)``.
        """
        self._drop_unused_col()
        stops = sizes.sum(1).cumsum()
        if rows is not None:
            rows, stops = splits.in_parts(rows, sizes)
            reorder(self.inter_feat, torch.from_numpy(rows))
        columns = self.inter_feat.interaction
        return [
            self.copy(Interaction({name: column[a:b] for name, column in columns.items()}))
            for a, b in zip(np.append(0, stops[:-1]).tolist(), stops.tolist())
        ]


def as_written(dataset_class: type) -> type:
    """The dataset class with this module's ways of reading, ordering and splitting."""
    if issubclass(dataset_class, AsWritten):
        return dataset_class
    members = {"__module__": dataset_class.__module__}
    return type(dataset_class.__name__, (AsWritten, dataset_class), members)
