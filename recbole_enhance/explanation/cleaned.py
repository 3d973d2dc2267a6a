"""Write a dataset without the least valuable interactions of a run of DVR, or with weights.

The parts are written as the run had them, so that a model trained on them is held against the very
same validation and test interactions, whatever its split and seed would have been.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from recbole.utils import init_seed

from recbole_enhance.data.account import CLEANED, Counts
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.dataset_folder import DatasetFolder
from recbole_enhance.data.rows import FILE_ROW
from recbole_enhance.explanation.values import read_values
from recbole_enhance.options.errors import DataError, InputError, OptionError, RunFolderError
from recbole_enhance.storage.files import read_settings
from recbole_enhance.storage.run_folder import CONFIG

PARTS = ("train", "valid", "test")
WEIGHT_FIELD = "value_weight"
DROP, SOFT = 0.1, 0.3  # shares of the training interactions, where none is given
# What the options file repeats of the run: how the files are read, and what is ranked.
_READING = (
    "USER_ID_FIELD",
    "ITEM_ID_FIELD",
    "RATING_FIELD",
    "TIME_FIELD",
    "LABEL_FIELD",
    "field_separator",
    "seq_separator",
    "encoding",
    "threshold",
    "item_category_field",
)


class Cleaned(NamedTuple):
    """What was written.

    Attributes:
        options: The file of options with which a run reads the dataset.
        folder: The dataset's folder.
        kept: Training interactions that are in it.
        dropped: Those that are not, and the users and items that have none left in training.
    """

    options: Path
    folder: Path
    kept: Counts
    dropped: Counts


def lowest(values: np.ndarray, share: float) -> np.ndarray:
    """Which values are among the lowest; ties go to those that come first.

    Args:
        values: Shape: ``(interactions,)``.
        share: Of the interactions, rounded to a whole number of them.

    Returns:
        Shape: ``(interactions,)``.

    Example:
        >>> lowest(np.array([0.3, -1.0, 0.1, 0.2]), 0.5).tolist()
        [False, True, True, False]
    """
    chosen = np.zeros(len(values), dtype=bool)
    chosen[np.argsort(values, kind="stable")[: round(share * len(values))]] = True
    return chosen


def soft_weights(values: np.ndarray, share: float) -> np.ndarray:
    """Weights that rise from 0 to 1 over the lowest values, by rank; the others have 1.

    Args:
        values: Shape: ``(interactions,)``.
        share: Of the interactions that have less than 1.

    Returns:
        Shape: ``(interactions,)``, above 0.

    Example:
        >>> soft_weights(np.array([0.3, -1.0, 0.1, 0.2]), 0.5).tolist()
        [1.0, 0.5, 1.0, 1.0]
    """
    rank = np.empty(len(values))
    rank[np.argsort(values, kind="stable")] = np.arange(1, len(values) + 1)
    return np.minimum(rank / (share * len(values)), 1)


def write_clean(
    run_dir: str | Path,
    folder: str | Path,
    drop: float | None = None,
    soft: bool = False,
    model_class: str | type | None = None,
    zero: bool = False,
) -> Cleaned:
    """Write the dataset of a run without its least valuable training interactions.

    Args:
        run_dir: Folder of a finished run of DVR with ``dvr_values=inrun``.
        folder: Where ``NAME/NAME.train.inter`` and so on go, and the options file ``NAME.yaml``.
        drop: Share of the training interactions of least value (of least ``amortised`` value, where
            the run has these) that is left out, or with ``soft`` that gets less
            weight than 1; None takes 0.1, or 0.3 with ``soft``.
        soft: Whether all interactions stay, with a column of weights that rise over the share.
        model_class: As in :func:`~recbole_enhance.experiment.quick_start.load_run`.
        zero: Whether all interactions stay, those of the share with weight 0: their losses do not
            count, and their items are not ranked for their users and are no negatives. Models
            that read interactions as input, such as graphs and histories, still see them.

    Raises:
        OptionError: If the share is none, the folder has the dataset already, or ``soft`` and
            ``zero`` are both given.
        RunFolderError: If the run has no values.
    """
    if soft and zero:
        raise OptionError("zero", True, "cannot be used with soft")
    share = (SOFT if soft else DROP) if drop is None else drop
    if type(share) not in (int, float) or not 0 < share < 1:
        raise OptionError("drop", drop, "a number above 0 and below 1 is expected")
    table = read_values(run_dir)
    name, out = str(read_settings(Path(run_dir, CONFIG)).get("dataset")), Path(folder)
    if (out / name).exists() or (out / f"{name}.yaml").exists():
        raise OptionError("write_clean", folder, f"{name} is there already; name another folder")
    from recbole_enhance.experiment.quick_start import load_run  # slow

    config = load_run(run_dir, model_class).config
    dataset, parts = _parts_with_file_rows(config)
    _refuse_other_rows(run_dir, parts[0], table)
    values = table["amortised" if "amortised" in table else "value"].to_numpy()
    gone, weights = lowest(values, share), None
    if soft or zero:
        weights = soft_weights(values, share) if soft else (~gone).astype(float)
        gone = np.zeros_like(gone)
    files = _interactions(config, len(dataset.file_rows), parts, ~gone, weights)
    for suffix, field in (("user", dataset.uid_field), ("item", dataset.iid_field)):
        tokens = dataset.field2id_token[field][1:]
        files[f"{name}.{suffix}"] = _features(config, suffix, field, tokens)
    before, after = _counts(table), _counts(table[~gone])
    lost = Counts(*(b - a for b, a in zip(before, after)))
    record = {"run": Path(run_dir).name, "share": share, "soft": soft, "dropped": lost._asdict()}
    if zero:
        record["zero"] = True
    files[f"{name}{CLEANED}"] = [json.dumps(record).encode()]
    _write(out, name, files, Path(config["data_path"]))
    options = out / f"{name}.yaml"
    content = yaml.safe_dump(_options(config, out, weights is not None), sort_keys=False)
    options.write_text(content, encoding="utf-8")
    return Cleaned(options, out / name, after, lost)


def _counts(table: Any) -> Counts:
    return Counts.of(table.iloc[:, 0], table.iloc[:, 1])


def _parts_with_file_rows(config: Any) -> tuple[Any, list[Any]]:
    """The dataset of a run and its parts, each interaction with its row in the files."""
    init_seed(config["seed"], config["reproducibility"])  # the split may be drawn
    dataset = create_dataset(config)
    dataset.keeps_file_rows = True
    return dataset, dataset.build()


def _refuse_other_rows(run_dir: str | Path, training: Any, table: Any) -> None:
    rows = training.inter_feat
    for place, field in enumerate((training.uid_field, training.iid_field)):
        tokens = training.id2token(field, rows[field].numpy())
        if len(rows) != len(table) or (tokens.astype(str) != table.iloc[:, place]).any():
            raise RunFolderError(run_dir, "its values are not those of its training interactions")


def _interactions(
    config: Any,
    n_rows: int,
    parts: Sequence[Any],
    kept: np.ndarray,
    weights: np.ndarray | None,
) -> dict[str, list[bytes]]:
    """Lines of each part's file, as the user wrote them; held-out parts are whole.

    Args:
        config: The run's settings.
        n_rows: Rows of the interaction files.
        parts: Training, validation and test part, with rows of the files.
        kept: Which training interactions stay. Shape: ``(interactions,)``.
        weights: Their column, if there is to be one. Shape: ``(interactions,)``.
    """
    header, lines = _read_lines(config, n_rows)
    separator = config["field_separator"].encode()
    column = f"{WEIGHT_FIELD}:".encode()
    if weights is not None:
        if any(cell.startswith(column) for cell in header.split(separator)):
            raise InputError(f"{config['dataset']}: has a column {WEIGHT_FIELD} already")
        header += separator + column + b"float"
    files = {}
    for number, part in enumerate(parts):
        rows = part.inter_feat[FILE_ROW].numpy()
        text = [lines[row] for row in (rows[kept] if number == 0 else rows)]
        if weights is not None:
            of_part = weights if number == 0 else np.ones(len(rows))
            text = [line + separator + b"%.6g" % w for line, w in zip(text, of_part)]
        files[f"{config['dataset']}.{PARTS[number]}.inter"] = [header, *text]
    return files


def _read_lines(config: Any, n_rows: int) -> tuple[bytes, list[bytes]]:
    """The header and the rows of the interaction files, as they are written."""
    folder, name = Path(config["data_path"]), config["dataset"]
    splits = config["benchmark_filename"]
    paths = [folder / f"{name}.{part}.inter" for part in splits] if splits else []
    tables = [_lines_of(path) for path in paths or [folder / f"{name}.inter"]]
    header = tables[0][0]
    for path, lines in zip(paths, tables):
        if lines[0] != header:
            raise DataError(path, f"has other columns than {paths[0].name}", 1)
    rows = [row for lines in tables for row in lines[1:]]
    if len(rows) != n_rows:
        raise InputError(f"{folder}: {len(rows)} lines for {n_rows} interactions")
    return header, rows


def _lines_of(path: Path) -> list[bytes]:
    lines = (line.rstrip(b"\r") for line in path.read_bytes().split(b"\n"))
    return [line for line in lines if line]  # blank lines are no rows


def _features(config: Any, suffix: str, field: str, tokens: Iterable[str]) -> list[bytes]:
    """Lines of a ``.user`` or ``.item`` file, of the run's users or items alone.

    All of them are there, those without a row too: whoever is dropped from training stays in the
    catalogue that is ranked.
    """
    path = Path(config["data_path"], f"{config['dataset']}.{suffix}")
    encoding = config["encoding"] or "utf-8"
    separator = config["field_separator"].encode()
    header, *rows = _lines_of(path) if path.is_file() else [f"{field}:token".encode()]
    names = [cell.partition(b":")[0].decode(encoding) for cell in header.split(separator)]
    place = names.index(field)
    found = {row.split(separator)[place].decode(encoding): row for row in rows}
    empty = [b""] * len(names)

    def bare(token: str) -> bytes:
        return separator.join([*empty[:place], token.encode(encoding), *empty[place + 1 :]])

    return [header, *(found.get(str(token)) or bare(str(token)) for token in tokens)]


def _options(config: Any, out: Path, weighted: bool) -> dict[str, Any]:
    """Options with which a run reads what was written."""
    columns = {key: list(names) for key, names in (config["load_col"] or {}).items()}
    for suffix, key in (("user", "USER_ID_FIELD"), ("item", "ITEM_ID_FIELD")):
        columns.setdefault(suffix, [config[key]])
    options: dict[str, Any] = {
        "dataset": config["dataset"],
        "data_path": str(out.resolve()),
        "benchmark_filename": list(PARTS),
        "load_col": columns,
        **{key: config.options[key] for key in _READING if config.options.get(key) is not None},
        "eval_args": {"mode": config["eval_args"]["mode"]},
    }
    if weighted:
        options["interaction_weight_field"] = WEIGHT_FIELD
    return options


def _write(out: Path, name: str, files: dict[str, list[bytes]], source: Path) -> None:
    """Write all files of a dataset, or none."""
    with DatasetFolder(out, name, option="write_clean").writing() as folder:
        for file, lines in files.items():
            (folder / file).write_bytes(b"\n".join(lines) + b"\n")
        for suffix in ("kg", "link"):
            if (source / f"{name}.{suffix}").is_file():
                shutil.copy(source / f"{name}.{suffix}", folder)
