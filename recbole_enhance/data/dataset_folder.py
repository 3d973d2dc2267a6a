"""A dataset's own folder: written whole or not at all, with the settings that runs read there."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recbole_enhance.options.errors import InputError, OptionError, UnknownOptionError
from recbole_enhance.options.read import load_yaml, nearest
from recbole_enhance.storage.file_lock import lock_file
from recbole_enhance.storage.outputs import make_output_folder

SECTIONS = ("general", "context", "sequential", "knowledge")
# What a dataset may decide: its columns, filters, split and metrics, and nothing of the machine.
SETTINGS = (
    "field_separator",
    "seq_separator",
    "encoding",
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "RATING_FIELD",
    "TIME_FIELD",
    "LABEL_FIELD",
    "HEAD_ENTITY_ID_FIELD",
    "TAIL_ENTITY_ID_FIELD",
    "RELATION_ID_FIELD",
    "ENTITY_ID_FIELD",
    "seq_len",
    "threshold",
    "load_col",
    "unload_col",
    "unused_col",
    "additional_feat_suffix",
    "rm_dup_inter",
    "val_interval",
    "filter_inter_by_user_or_item",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "entity_kg_num_interval",
    "relation_kg_num_interval",
    "kg_reverse_r",
    "alias_of_user_id",
    "alias_of_item_id",
    "alias_of_entity_id",
    "alias_of_relation_id",
    "normalize_field",
    "normalize_all",
    "discretization",
    "numerical_features",
    "selected_features",
    "item_attribute",
    "benchmark_filename",
    "item_category_field",
    "group_fields",
    "feature_source",
    "feature_field",
    "sentiment_field",
    "item_feature_field",
    "train_neg_sample_args",
    "eval_args",
    "repeatable",
    "metrics",
    "topk",
    "valid_metric",
    "MAX_ITEM_LIST_LENGTH",
)
NOT_IN_NAMES = "/\\:\0"  # in no name from the user, so that no path leaves its folder


def refuse_path(dataset: str, option: str = "dataset") -> None:
    """Refuse a dataset's name that is no plain name of a folder.

    Args:
        dataset: The name.
        option: The option that gives it.

    Raises:
        OptionError: Naming both.
    """
    if not is_plain(dataset):
        raise OptionError(option, repr(dataset), "must be the name of a folder, not a path")


def is_plain(dataset: str) -> bool:
    """Whether a dataset's name is that of a folder, and no path.

    Example:
        >>> is_plain("shop"), is_plain("../shop")
        (True, False)
    """
    return bool(dataset) and dataset != "." and ".." not in dataset and not _odd(dataset)


def _odd(name: str) -> bool:
    return bool(set(name) & set(NOT_IN_NAMES)) or not name.isprintable()


def read_settings(data_path: Path, dataset: str) -> tuple[Path, dict[str, Any]]:
    """Read the options in a dataset's own folder, ``<dataset>/<dataset>.yaml``.

    Args:
        data_path: Folder that holds one folder for each dataset.
        dataset: Its name.

    Returns:
        The file, and its options; none if there is no such file.

    Raises:
        UnknownOptionError: If it holds an option that a dataset cannot decide.
    """
    path = data_path / dataset / f"{dataset}.yaml"
    if not is_plain(dataset) or not path.is_file():
        return path, {}
    options = load_yaml(path)
    parts = {name: options.get(name) or {} for name in (*SECTIONS, "variants")}
    variants = parts.pop("variants")
    for name, part in [*parts.items(), ("variants", variants)]:
        if not isinstance(part, Mapping):
            raise InputError(f"config file {path}: {name} must be a mapping of options")
    flat = {key: None for key in options if key not in (*SECTIONS, "variants")}
    for part in (flat, *parts.values(), *(v for v in variants.values() if v)):
        for key in part:
            if key not in SETTINGS:
                problem = "is not an option that a dataset's own file may set"
                raise UnknownOptionError(key, problem, str(path), nearest(key, SETTINGS))
    return path, options


class DatasetFolder:
    """A dataset's folder while it is written: hidden, until all of it is there.

    Args:
        out: Folder that holds one folder for each dataset; made if it is not there.
        name: Name of the dataset.
        overwrite: Whether a dataset of this name is replaced.
        option: The option that names ``out``, for the message.

    Attributes:
        path: Where it will be.
        hidden: Where files are written.

    Raises:
        OptionError: If the name is a path, or taken.
    """

    def __init__(self, out: Path, name: str, overwrite: bool = False, option: str = "out") -> None:
        refuse_path(name, "name")
        self.path, self.overwrite, self.option = out / name, overwrite, option
        self.hidden = out / f".{name}.importing"
        self._refuse_taken()

    def _refuse_taken(self) -> None:
        if not self.path.exists():
            return
        if not self.overwrite:
            raise OptionError(
                "name", self.path.name, f"{self.path} is there already; --overwrite replaces it"
            )
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        others = [p.name for p in files if not p.name.startswith(f"{self.path.name}.")]
        if others or not self.path.is_dir():
            raise OptionError(
                "overwrite",
                self.path,
                f"holds {', '.join(others[:3])}, which is not a file of a dataset: remove it first",
            )

    @contextlib.contextmanager
    def writing(self) -> Iterator[Path]:
        """Give the hidden folder, which takes its place when the block has succeeded.

        Raises:
            LockedError: If another process writes the same dataset.
            OptionError: If there is no folder ``out`` and none can be made.
        """
        out = self.path.parent
        made = [folder for folder in (out, *out.parents) if not folder.exists()]
        make_output_folder(self.option, out)
        lock, done = out / f".{self.path.name}.lock", False
        held = lock_file(lock, f"name={self.path.name}")
        try:
            shutil.rmtree(self.hidden, ignore_errors=True)  # of a process that was killed
            self.hidden.mkdir()
            yield self.hidden
            self._refuse_taken()
            self._take_place()
            done = True
        finally:
            shutil.rmtree(self.hidden, ignore_errors=True)
            lock.unlink(missing_ok=True)
            held.close()
            for folder in [] if done else made:
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _take_place(self) -> None:
        old = self.path.with_name(f".{self.path.name}.replaced")
        shutil.rmtree(old, ignore_errors=True)
        if self.path.exists():
            os.rename(self.path, old)
        try:
            os.rename(self.hidden, self.path)
        except BaseException:
            if old.exists():
                os.rename(old, self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)


def settings_text(
    comment: Sequence[str], options: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]]
) -> str:
    """Options as a dataset's own file holds them.

    Args:
        comment: Lines at the top.
        options: For every model.
        sections: Type of model -> options.
    """
    content = {**options, **{name: part for name, part in sections.items() if part}}
    form = {"default_flow_style": None, "sort_keys": False, "allow_unicode": True, "width": 99}
    text: str = yaml.safe_dump(content, **form)
    printable = ("".join(c if c.isprintable() else " " for c in line) for line in comment)
    return "".join(f"# {' '.join(line.split())}\n" for line in printable) + text
