"""All checks of a run's data, on the split that the run makes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from recbole.utils import ModelType, init_seed

from recbole_enhance.data import atomic, checks
from recbole_enhance.data.account import PARTS
from recbole_enhance.data.checks import Finding
from recbole_enhance.data.dataset import create_dataset
from recbole_enhance.data.reading import read_atomic, read_header
from recbole_enhance.experiment.assembly import told_as_input_error
from recbole_enhance.experiment.config import Config
from recbole_enhance.options.errors import DataError
from recbole_enhance.options.read import load_yaml

_MODEL = "Pop"  # whose protocol is checked if none is named: that of general models


class Check(NamedTuple):
    """What was found.

    Attributes:
        account: Of the rows, as in ``data.json`` of a run; empty if the data cannot be read.
        lines: The account in words.
        findings: In the order of the checks.
    """

    account: dict[str, Any]
    lines: list[str]
    findings: list[Finding]

    @property
    def wrong(self) -> bool:
        """Whether something should be corrected."""
        return any(finding.wrong for finding in self.findings)


def check_data(
    dataset: str,
    config_file_list: Sequence[str | Path] | None = None,
    config_dict: Mapping[str, Any] | None = None,
    command_line: Mapping[str, str] | None = None,
) -> Check:
    """Check the data of a run with these options; nothing is trained.

    Args:
        dataset: Name of the dataset.
        config_file_list: YAML files of options.
        config_dict: Options.
        command_line: Options as text.

    Raises:
        InputError: If there is no such dataset, or an option is refused. What is wrong with the
            data is a finding.
    """
    layers = [*map(load_yaml, config_file_list or []), config_dict or {}, command_line or {}]
    model = None if any(layer.get("model") for layer in layers) else _MODEL
    try:
        config = Config(model, dataset, config_file_list, config_dict, command_line)
    except DataError as error:
        return Check({}, [], [_unreadable(error)])
    encoding = config["encoding"]
    found = [finding for path in _files(config) for finding in checks.encodings(path, encoding)]
    config["checkpoint_dir"] = "."
    try:
        with config.naming_origins(), told_as_input_error(f"dataset={dataset}"):
            init_seed(config["seed"], config["reproducibility"])
            data = create_dataset(config)
            parts = data.exact_parts()
            found += _of_files(config, data)
    except DataError as error:
        of_bytes = any(f.wrong and f.text.startswith(error.path.name) for f in found)
        return Check({}, [], found if of_bytes else [*found, _unreadable(error)])
    found += checks.repeated(data.account.repeated)
    found += _of_parts(config, data, parts)
    return Check(data.account.as_json(), data.account.lines(), found)


def _unreadable(error: DataError) -> Finding:
    return Finding("file", True, 1, str(error))


def _files(config: Config) -> list[Path]:
    """Those that a run reads, and those that describe users and items."""
    folder, name = Path(config["data_path"]), config["dataset"]
    read = atomic.suffixes(config["load_col"], config["benchmark_filename"])
    paths = [folder / f"{name}.{suffix}" for suffix in dict.fromkeys([*read, "user", "item"])]
    return [path for path in paths if path.is_file()]


def _of_files(config: Config, data: Any) -> list[Finding]:
    """Ids, gaps and times, as they stand in the files."""
    form = {"separator": config["field_separator"], "encoding": config["encoding"]}
    user, item, time = data.uid_field, data.iid_field, config["TIME_FIELD"]
    found, tables = [], []
    paths = {path.name: path for path in _files(config)}
    for path in paths.values():
        if path.suffix == ".inter":
            tables.append(read_atomic(path, (user, item, time), **form))
            if time in tables[-1]:
                found += checks.times(tables[-1], user, time, path.name)
    for field, suffix, what in ((user, "user", "users"), (item, "item", "items")):
        used = pd.Series(pd.concat([table[field] for table in tables]).dropna().unique())
        found += checks.look_alikes(used, f"column {field}")
        about = paths.get(f"{config['dataset']}.{suffix}")
        if about is not None and field in read_header(about, **form):
            described = read_atomic(about, (field,), **form)[field].dropna()
            found += checks.gaps(used, described, about.name, what)
    return found


def _of_parts(config: Config, data: Any, built: Sequence[Any]) -> list[Finding]:
    """Leakage, and what no metric sees."""
    parts = {}
    for name, part in zip(PARTS, built):
        rows = part.inter_feat
        moments = rows[data.time_field].numpy() if data.time_field in rows else None
        parts[name] = checks.Part(
            rows[data.uid_field].numpy(), rows[data.iid_field].numpy(), moments
        )
    by_time = bool(data.benchmark_filename_list) or config["eval_args"]["order"] == "TO"
    masks = config["MODEL_TYPE"] != ModelType.SEQUENTIAL and not config["repeatable"]
    return [
        *checks.leakage(parts, by_time),
        *checks.unseen(parts, data.user_num - 1, data.item_num - 1, masks),
    ]
