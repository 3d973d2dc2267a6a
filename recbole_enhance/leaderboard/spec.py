"""What a board is asked to run: read from a file or the command line, checked, nothing run yet."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_enhance.explanation.words import (
    AttackOptions,
    ExplainOptions,
    attack_options,
    filled,
)
from recbole_enhance.leaderboard import EMBED, PLOTLY
from recbole_enhance.leaderboard.measures import (
    ATTACK_COLUMNS,
    ATTACK_METRICS,
    split_history_column,
)
from recbole_enhance.leaderboard.rows import RowSpec, board_options, read_rows
from recbole_enhance.options.errors import OptionError
from recbole_enhance.options.limits import MOST, MOST_PROCESSES, MOST_THREADS, checked_count
from recbole_enhance.options.read import (
    MERGED,
    load_yaml,
    nearest,
    parse_value,
    read_option,
    refuse_control,
    split_files,
    split_list,
)
from recbole_enhance.options.schema import is_list

FIRST_SEED = 2020  # RecBole's own
_MAX_COUNT = 100  # a larger number of seeds is a seed that was meant
_KEYS = (
    "name",
    "out",
    "datasets",
    "models",
    "seeds",
    "options",
    "jobs",
    "threads",
    "tune",
    "cluster",
    "explain",
    "attack",
    "history_columns",
    "plotly",
)
_EXAMPLES = {"tune": "{trials: 20}", "explain": "{topk: 5}", "attack": "{targets: [params]}"}
_DOTTED = tuple(f"{key}." for key in _EXAMPLES)
_DATASET_KEYS = ("dataset", "options")


@dataclass(frozen=True)
class Board:
    """All that a board is asked to run.

    Attributes:
        out: Its folder.
        name: Its title.
        datasets: Names, and run options that hold on that dataset.
        rows: Methods and models.
        seeds: Every row is run with each.
        options: Run options of all cells, with dotted keys.
        last: Run options of the command line and of files that it names, which have the last word.
        origins: Of those of the files: option -> file.
        jobs: Cells that run at the same time on this machine.
        threads: Threads of each; None shares the cores out.
        tune: Arguments of tuning, or None.
        cluster: Address of a Dask scheduler, or None.
        explain: Options with which every finished run is explained, or None.
        attack: Options with which every finished run is attacked, or None.
        history_columns: Columns of ``history.csv`` that become columns of the board, as
            ``NAME`` or ``NAME@EPOCH``.
        plotly: Where the page has plotly.js, see
            :func:`~recbole_enhance.leaderboard.board.build_board`.
    """

    out: Path
    name: str
    datasets: tuple[tuple[str, Mapping[str, Any]], ...]
    rows: tuple[RowSpec, ...]
    seeds: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    threads: int | None = None
    tune: Mapping[str, Any] | None = None
    cluster: str | None = None
    explain: Mapping[str, Any] | None = None
    attack: Mapping[str, Any] | None = None
    history_columns: tuple[str, ...] = ()
    plotly: str = EMBED


def read_board(file: str | None, words: Mapping[str, str]) -> Board:
    """Read a board.

    Args:
        file: A YAML file, or None.
        words: Options of the command line as text, which come over those of the file; also
            ``config_files``, files of run options between the two.

    Raises:
        ValueError: In one line: the key, its value and what is allowed.
    """
    spec = load_yaml(file) if file else {}
    for key in spec:
        if key not in _KEYS:
            hint = " (run options belong under options)" if not nearest(key, _KEYS) else ""
            raise ValueError(f"{file}: {key}: unknown key{nearest(key, _KEYS)}{hint}")
    _refuse_addresses(file, spec)
    files, given = split_files(words)
    layers = [(name, board_options(name, _without_quiet(load_yaml(name)))) for name in files]
    if "dataset" in given:
        given["datasets"] = given.pop("dataset")
    of_board = {key: given.pop(key) for key in list(given) if key in _KEYS}
    dotted = {key: given.pop(key) for key in list(given) if key.startswith(_DOTTED)}
    out = _text("out", of_board.get("out") or spec.get("out"))
    if out is None:
        raise ValueError("out: the board's folder is missing: --out=DIR")
    name = _text("name", of_board.get("name") or spec.get("name")) or Path(out).name
    models = split_list(of_board["models"]) if "models" in of_board else spec.get("models")
    tune, explain, attack = (
        _arguments(key, of_board, spec, dotted) for key in ("tune", "explain", "attack")
    )
    if tune is not None:
        tune["trials"] = _count("tune.trials", tune.get("trials"))
    line = board_options("the command line", {k: read_option(k, v) for k, v in given.items()})
    return Board(
        out=Path(refuse_control("out", out)),
        name=refuse_control("name", name),
        datasets=_datasets(
            split_list(of_board["datasets"]) if "datasets" in of_board else spec.get("datasets")
        ),
        rows=read_rows(models, from_file="models" not in of_board),
        seeds=_seeds(
            _seedsplit_list(of_board["seeds"]) if "seeds" in of_board else spec.get("seeds", 1)
        ),
        options=board_options("options", spec.get("options")),
        last=overlay(*(options for _, options in layers), line),
        origins={
            key.partition(".")[0]: name
            for name, options in layers
            for key in options
            if key not in line
        },
        jobs=_count("jobs", of_board.get("jobs", spec.get("jobs", 1)), MOST_PROCESSES),
        threads=_threads(of_board.get("threads", spec.get("threads"))),
        tune=tune,
        cluster=_cluster(of_board.get("cluster")),
        explain=None if explain is None else filled(ExplainOptions, explain, "explain."),
        attack=None if attack is None else _attack_options(attack),
        history_columns=_history_columns(
            split_list(of_board["history_columns"])
            if "history_columns" in of_board
            else spec.get("history_columns") or []
        ),
        plotly=_plotly(of_board.get("plotly", spec.get("plotly", EMBED))),
    )


def overlay(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay options over one another, later over earlier, and keep their keys dotted.

    Args:
        layers: Options; dotted keys reach into dictionaries, and dictionaries of arguments
            (``eval_args``) merge by their keys, as they do everywhere else.

    Example:
        >>> overlay({"eval_args": {"order": "TO"}, "topk": 5}, {"eval_args.mode": "full"})
        {'eval_args.order': 'TO', 'topk': 5, 'eval_args.mode': 'full'}
        >>> overlay({"load_col.inter": ["a"]}, {"load_col": {"inter": ["b"]}})
        {'load_col': {'inter': ['b']}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            merged = key in MERGED and isinstance(value, Mapping)
            entries = {f"{key}.{k}": v for k, v in value.items()} if merged else {key: value}
            for name, entry in entries.items():
                for old in [k for k in result if k == name or k.startswith(f"{name}.")]:
                    del result[old]
                result[name] = entry
    return result


# ---- single keys -------------------------------------------------------------------------------


def _without_quiet(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a file but the one that is the verb's."""
    return {key: value for key, value in options.items() if key != "quiet"}


def _refuse_addresses(file: str | None, spec: Mapping[str, Any]) -> None:
    """Refuse what connects to another machine or makes a database, where a file says it.

    Whoever answers at the address sends objects that a client unpickles, and so runs code.
    """
    tune = spec.get("tune")
    addresses = {"cluster": spec.get("cluster")}
    addresses["tune.storage"] = tune.get("storage") if isinstance(tune, Mapping) else None
    for key, value in addresses.items():
        if value is not None:
            raise OptionError(
                key,
                value,
                f"a file must not hold an address; give --{key}={value} on the command line",
                file,
            )


def _seedsplit_list(text: str) -> Any:
    return split_list(text) if "," in text or "[" in text else text


def _text(key: str, value: Any) -> str | None:
    """What must be text; 2024 is a number to YAML."""
    if value is not None and type(value) not in (str, int):
        raise ValueError(f"{key}={value}: text is expected")
    return None if value is None else str(value)


def _datasets(datasets: Any) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    datasets = [datasets] if isinstance(datasets, (str, dict)) else datasets
    if not isinstance(datasets, list) or not datasets:
        raise ValueError(f"datasets={datasets}: a list of names is expected, such as ml-100k")
    found: dict[str, Mapping[str, Any]] = {}
    for entry in datasets:
        mapping = entry if isinstance(entry, dict) else {"dataset": entry}
        name = mapping.get("dataset")
        for key in mapping:
            if key not in _DATASET_KEYS:
                raise ValueError(
                    f"datasets={entry}: {key}: unknown key{nearest(str(key), _DATASET_KEYS)}"
                )
        if type(name) not in (str, int):
            raise ValueError(f"datasets={entry}: a name, or a mapping with dataset and options")
        refuse_control("datasets", str(name))
        if str(name) in found:
            raise ValueError(f"datasets: {name} is given twice")
        found[str(name)] = board_options(f"datasets: {name}: options", mapping.get("options"))
    return tuple(found.items())


def _seeds(seeds: Any) -> tuple[int, ...]:
    allowed = (
        f"a list of different numbers is expected, such as [2020, 2021], or how many there should "
        f"be from {FIRST_SEED} on"
    )
    if not isinstance(seeds, list):
        count = _whole(seeds)
        if count is None or not 1 <= count <= _MAX_COUNT:
            raise ValueError(f"seeds={seeds}: {allowed}, up to {_MAX_COUNT}")
        return tuple(range(FIRST_SEED, FIRST_SEED + count))
    numbers = [_whole(seed) for seed in seeds]
    found = tuple(number for number in numbers if number is not None and 0 <= number < 2**32)
    if not seeds or len(set(found)) != len(seeds):
        raise ValueError(f"seeds={', '.join(map(str, seeds))}: {allowed}")
    return found


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    return value if type(value) is int else None


def _count(key: str, value: Any, most: int = MOST) -> int:
    number = _whole(value)
    return checked_count(key, value if number is None else number, most)


def _threads(value: Any) -> int | None:
    return None if value is None else _count("threads", value, MOST_THREADS)


def _cluster(value: Any) -> str | None:
    if value is not None and not re.fullmatch(r"\w+://\S+", str(value)):
        raise ValueError(f"cluster={value}: an address such as tcp://127.0.0.1:8786 is expected")
    return None if value is None else str(value)


def _arguments(
    key: str, of_board: Mapping[str, str], spec: Mapping[str, Any], dotted: Mapping[str, str]
) -> dict[str, Any] | None:
    """A mapping of the file or the command line, to which ``tune.trials=20`` and so on add."""
    value = parse_value(key, of_board[key]) if key in of_board else spec.get(key)
    start = f"{key}."
    added = {k[len(start) :]: parse_value(k, v) for k, v in dotted.items() if k.startswith(start)}
    if value is False or (value is None and not added):
        return None
    if value is True and key != "tune":
        value = {}
    if not isinstance(value if value is not None else {}, dict):
        raise OptionError(key, value, f"a mapping such as {_EXAMPLES[key]} is expected")
    return {**(value or {}), **added}


def _attack_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the verb, and ``columns``: what of each attack becomes a column."""
    options = dict(options)
    columns = options.pop("columns", None) or ATTACK_COLUMNS
    columns = split_list(columns) if isinstance(columns, str) else list(columns)
    for column in columns:
        if column not in ATTACK_METRICS:
            raise OptionError("attack.columns", column, f"one of {', '.join(ATTACK_METRICS)}")
    return {**attack_options(_listed(options), "attack."), "columns": columns}


def _listed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of attacks, in which text such as ``a,b`` stands for a list."""
    return {
        key: [parse_value(key, word) for word in split_list(value)]
        if isinstance(value, str)
        and key in AttackOptions.model_fields
        and is_list(AttackOptions, key)
        else value
        for key, value in options.items()
    }


def _history_columns(columns: Any) -> tuple[str, ...]:
    columns = [columns] if isinstance(columns, str) else columns
    if not isinstance(columns, list) or not all(isinstance(c, str) and c for c in columns):
        raise OptionError("history_columns", columns, "a list of columns is expected")
    for column in columns:
        split_history_column(column)
    if len(set(columns)) < len(columns):
        raise OptionError("history_columns", ", ".join(columns), "a column is given twice")
    return tuple(columns)


def _plotly(value: Any) -> str:
    if value not in PLOTLY:
        raise OptionError("plotly", value, f"one of {', '.join(PLOTLY)}")
    return str(value)


def describe(board: Board, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The board as plain values, for ``board.yaml``.

    Args:
        board: What was asked.
        labels: Of each row what running adds: ``label``, ``enhancer``, ``backbone``.
    """
    rows: list[dict[str, Any]] = []
    for row, label in zip(board.rows, labels):
        entry = {**label, "name": row.name, "model": row.model, "options": dict(row.options)}
        entry.update(config_files=list(row.config_files), tune=bool(board.tune) and row.tune)
        if row.against is not None:
            entry["against"] = row.against
        rows.append(entry)
    return {
        "name": board.name,
        "datasets": [{"dataset": name, "options": dict(o)} for name, o in board.datasets],
        "rows": rows,
        "seeds": list(board.seeds),
        "options": overlay(board.options, board.last),
        "threads": board.threads,
        "tune": dict(board.tune) if board.tune else None,
        "explain": None if board.explain is None else dict(board.explain),
        "attack": None if board.attack is None else dict(board.attack),
        "history_columns": list(board.history_columns),
        "plotly": board.plotly,
    }
