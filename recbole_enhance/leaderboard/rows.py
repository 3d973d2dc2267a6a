"""Rows of a board as they are asked for: a model or a method over one, and its options."""

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recbole_enhance.enhancer import enhancer_names
from recbole_enhance.options.errors import InputError
from recbole_enhance.options.read import nearest

_ROW_KEYS = ("model", "backbone", "name", "options", "config_files", "tune", "space", "against")
# Options that the board itself sets, and where they belong.
_ELSEWHERE = {
    "model": "models",
    "backbone": "models",
    "dataset": "datasets",
    "seed": "seeds",
    "run_dir": "out",
    "config_files": "a row of models",
    "resume": "nothing: a board continues by itself",
    "cluster": "the command line, as --cluster=ADDRESS",
    "storage": "the command line, as --tune.storage=ADDRESS",
}
_NAME = re.compile(r"[A-Za-z0-9][\w.+=-]*")


@dataclass(frozen=True)
class RowSpec:
    """A method over a backbone, or a plain model, with the options of this row.

    Attributes:
        model: A method, a model, or from the command line the user's own class.
        backbone: The model under a method; None takes the one of the method's YAML.
        name: Tells two settings of one pair apart.
        options: Run options of this row, with dotted keys.
        config_files: Files of options, below all others.
        tune: Whether the board's tuning applies.
        space: Search space of this row, for tuning.
        against: Name of the row of the same backbone that this one is compared with; None for the
            plain backbone.
    """

    model: str
    backbone: str | None = None
    name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    config_files: tuple[str, ...] = ()
    tune: bool = True
    space: Any = None
    against: str | None = None

    @property
    def title(self) -> str:
        """As it was written."""
        pair = f"{self.model}:{self.backbone}" if self.backbone else self.model
        return f"{pair} ({self.name})" if self.name else pair


def read_rows(models: Any, from_file: bool) -> tuple[RowSpec, ...]:
    """Read the rows of a board.

    Args:
        models: A list, of names or mappings.
        from_file: Whether a file says them, which may not name code of the user's.

    Raises:
        ValueError: In one line: the row, what is wrong with it and what is allowed.
    """
    if not isinstance(models, list) or not models:
        raise ValueError(f"models={models}: a list is expected, such as BPR, DVR:BPR, DVR:LightGCN")
    rows = tuple(_row(entry, from_file) for entry in models)
    titles = [row.title.lower() for row in rows]
    twice = next((row.title for row in rows if titles.count(row.title.lower()) > 1), None)
    if twice is not None:
        raise ValueError(f"models: {twice} is given twice; give each a name of its own")
    names = [row.name for row in rows]
    for row in rows:
        if row.against is not None and row.against not in names:
            raise InputError(
                f"models: {row.title}: against={row.against}: no row has this name"
                f"{nearest(str(row.against), [name for name in names if name])}"
            )
    return rows


def _row(entry: Any, from_file: bool) -> RowSpec:
    if isinstance(entry, str):
        entry = {"model": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("model"), str):
        raise ValueError(f"models={entry}: a name is expected, or a mapping with model: NAME")
    for key in entry:
        if key not in _ROW_KEYS:
            raise ValueError(
                f"models: {entry['model']}: {key}: unknown key{nearest(str(key), _ROW_KEYS)}"
            )
    if from_file and any(map(names_own_code, _words_of(entry))):
        title = ":".join(_words_of(entry))
        raise ValueError(
            f"models={title}: your own code, and files never import code; write --models={title}"
            f"{nearest(title.partition(':')[0], enhancer_names().values())}"
        )
    model, backbone = split_pair(entry["model"])
    if backbone is not None and entry.get("backbone") is not None:
        raise ValueError(f"models={entry['model']}: backbone={entry['backbone']} is also given")
    backbone = backbone or entry.get("backbone")
    title = f"{model}:{backbone}" if backbone else model
    named = entry.get("name"), entry.get("against")
    name, against = (str(value) if type(value) is int else value for value in named)
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError(f"models: {title}: name={name}: letters, digits and . _ + = - are allowed")
    files = entry.get("config_files") or []
    files = [files] if isinstance(files, str) else files
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ValueError(f"models: {title}: config_files={files}: a list of files is expected")
    if not isinstance(entry.get("tune", True), bool):
        raise ValueError(f"models: {title}: tune={entry['tune']}: true or false is expected")
    options = board_options(f"models: {title}: options", entry.get("options"))
    return RowSpec(
        model,
        backbone,
        name,
        options,
        tuple(files),
        entry.get("tune", True),
        entry.get("space"),
        against,
    )


def board_options(where: str, options: Any) -> dict[str, Any]:
    """Check that these are options of a run, and none that the board itself sets.

    Args:
        where: Who says them, for the message.
        options: A mapping, or None.

    Raises:
        ValueError: Naming the option, and where it belongs.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise ValueError(f"{where}={options}: a mapping of run options is expected")
    for key in options:
        if key in _ELSEWHERE:
            raise ValueError(
                f"{where}: {key}: not an option of a board; it belongs in {_ELSEWHERE[key]}"
            )
    return dict(options)


def split_pair(text: str) -> tuple[str, str | None]:
    """Read a row: ``MODEL``, or ``METHOD:BACKBONE``; either may be the user's, ``module:Name``.

    A method's name before the first colon is the method, whatever modules there are. Any other
    word there is a module, and goes with the word behind it; what follows is the backbone.

    Args:
        text: As in ``--models``.

    Returns:
        Model, and backbone or None.

    Raises:
        ValueError: If what stands before the colon is neither a method nor a module.

    Example:
        >>> split_pair("dvr:LightGCN"), split_pair("BPR"), split_pair("my.models:Mine")
        (('DVR', 'LightGCN'), ('BPR', None), ('my.models:Mine', None))
        >>> split_pair("my.methods:Method:BPR"), split_pair("DVR:my.models:Mine")
        (('my.methods:Method', 'BPR'), ('DVR', 'my.models:Mine'))
    """
    before, *after = text.split(":")
    if not after:
        return text, None
    if not before or not all(after):
        raise ValueError(f"models={text}: METHOD:BACKBONE or MODULE:NAME is expected")
    methods = enhancer_names()
    if before.lower() in methods:
        return methods[before.lower()], ":".join(after)
    if "." not in before and importlib.util.find_spec(before) is None:
        raise ValueError(
            f"models={text}: {before} is neither a method ({', '.join(sorted(methods.values()))}) "
            f"nor a module{nearest(before, methods.values())}"
        )
    return f"{before}:{after[0]}", ":".join(after[1:]) or None


def _words_of(entry: Mapping[str, Any]) -> list[str]:
    """Model, and backbone where a row has one of its own."""
    return [str(entry[key]) for key in ("model", "backbone") if entry.get(key) is not None]


def names_own_code(text: str) -> bool:
    """Whether a row of ``--models`` names a class or a method of the user's.

    Example:
        >>> [names_own_code(text) for text in ("BPR", "DVR:BPR", "DVR:mine:Model", "mine:Model")]
        [False, False, True, True]
    """
    before, colon, after = text.partition(":")
    return bool(colon) and (before.lower() not in enhancer_names() or ":" in after)
