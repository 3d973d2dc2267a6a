"""Options as data: read from argv and YAML, merged layer by layer. Nothing is ever evaluated."""

import contextlib
import difflib
import os
import re
import stat
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import yaml

from recbole_enhance.options.errors import InputError, OptionError

Layer = tuple[str, Mapping[str, Any]]  # where the options stand, and the options

# A layer that names some of the keys leaves the others as they are. RecBole replaces all of them.
MERGED = ("eval_args", "train_neg_sample_args")
# Names and separators, not numbers: a dataset may be called 007.
_TEXT = (
    "model",
    "dataset",
    "backbone",
    "variant",
    "run_dir",
    "data_path",
    "data_cache",
    "field_separator",
    "seq_separator",
)
_COLUMNS = ("load_col", "unload_col")  # suffix of a file -> list of columns
_OF_RECBOLE = {"config_file_list": "config_files"}  # what RecBole calls it from Python -> our word
_YES_NO = ("true", "false", "yes", "no", "on", "off")
# Control and format characters (of these some turn the order of a line), line separators.
_CONTROL = ("Cc", "Cf", "Cs", "Zl", "Zp")
_INTERVAL = re.compile(r"^[\[(][^,\[\]()]*,[^,\[\]()]*[\])]$")  # RecBole's "[5,inf)"


# Far above what options need; a file of 350 bytes can stand for 10 ** 10 values.
MAX_YAML_BYTES, MAX_YAML_DEPTH, MAX_YAML_VALUES, MAX_YAML_REPEATED = 2**22, 50, 500_000, 10_000


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The reader of YAML: safe, and numbers are what YAML 1.2 and RecBole read as numbers.

    ``1e-3`` is a number. ``1:30`` and ``010`` are text: YAML 1.1 has 90 and 8 for them. A key
    that is given twice, which YAML forbids and PyYAML accepts, is refused.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping of keys that stand once; keys of a merge (``<<``) may stand again."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge" and isinstance(key_node.value, str):
                if key_node.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key_node.value} is given twice", key_node.start_mark
                    )
                seen.add(key_node.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(0|[1-9][\d_]*|0b[01_]+|0x[\da-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?(\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*(?=[eE]))"
    r"([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _pattern in _NUMBERS.items():
    Loader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list("-+0123456789."))


def parse_value(key: str, text: str) -> Any:
    """Read one value given as text.

    Args:
        key: The option, for the message.
        text: YAML: ``0.1``, ``true``, ``[64, 32]``, ``{a: 1}``. RecBole's half-open intervals and
            ``None`` are understood too.

    Returns:
        Plain Python values.

    Raises:
        ValueError: If the text is no YAML.

    Example:
        >>> parse_value("learning_rate", "1e-3"), parse_value("topk", "[5, 10]")
        (0.001, [5, 10])
    """
    if _INTERVAL.match(text) and not text.endswith("]"):
        return text
    if text == "None":
        return None
    try:
        return _load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise OptionError(key, text[:80], "not a YAML value") from error


def read_option(key: str, text: str) -> Any:
    """Read the value of a run's option given as text.

    Args:
        key: The option; a name or separator stays text.
        text: As for :func:`parse_value`.

    Example:
        >>> read_option("epochs", "3"), read_option("dataset", "007")
        (3, '007')
    """
    name = (key in _TEXT or key.endswith("_FIELD")) and text not in ("", "~", "null", "None")
    return text if name else parse_value(key, text)


def _load(text: str) -> Any:
    _refuse_large(text)
    return yaml.load(text, Loader)


def _refuse_large(text: str) -> None:
    """Refuse YAML that is larger than options need, with its aliases expanded, before it is built.

    The events of the parser are enough. Building a deeply nested text would overflow the stack of
    the C code, and the events let aliases be counted without expanding them.

    Raises:
        ValueError: Saying what there is too much of.
    """
    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"is too large: {len(text):,} characters; the limit is {MAX_YAML_BYTES:,}")
    total = repeated = 0
    begun: list[tuple[str | None, int]] = []  # anchor, and how many values came before
    sizes: dict[str, int] = {}  # of an anchor -> values that its alias stands for
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                if any(anchor == event.anchor for anchor, _ in begun):
                    raise ValueError(f"*{event.anchor} contains itself")
                continue  # the loader says that there is none
            total += sizes[event.anchor]
            repeated += sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            begun.append((event.anchor, total))
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = begun.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        for what, number, limit in (
            ("values by aliases", repeated, MAX_YAML_REPEATED),
            ("values", total, MAX_YAML_VALUES),
            ("levels", len(begun), MAX_YAML_DEPTH),
        ):
            if number > limit:
                raise ValueError(f"more than {limit:,} {what}")


def parse_flag(key: str, text: str) -> bool:
    """Read one yes or no given as text, as every other option is read.

    Args:
        key: The option, for the message.
        text: YAML: ``true``, ``yes``, ``on`` and their opposites, whatever the case.

    Raises:
        OptionError: If it is neither.

    Example:
        >>> parse_flag("quiet", "yes"), parse_flag("quiet", "False")
        (True, False)
    """
    value = parse_value(key, text)
    if not isinstance(value, bool):
        raise OptionError(key, text, "true or false is expected")
    return value


def load_yaml(path: Any) -> dict[str, Any]:
    """Read a mapping of options from a YAML file.

    Args:
        path: The file.

    Raises:
        ValueError: If it is missing, no regular file, no YAML, or no mapping.
    """
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"config file {path}: is not a regular file")
            text = file.read(MAX_YAML_BYTES + 1).decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"config file {path} does not exist") from None
    except UnicodeDecodeError as error:
        raise InputError(f"config file {path}: {one_line(error)}") from error
    except OSError as error:
        raise InputError(f"config file {path}: {error.strerror}") from error
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Any) -> dict[str, Any]:
    """Read a mapping of options from the text of a YAML file.

    Args:
        text: All of it.
        path: The file, for messages.

    Raises:
        InputError: If it is no YAML, no mapping, or larger than any options are.
    """
    try:
        content = _load(text)
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        raise InputError(f"config file {path}: {one_line(error)}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"config file {path}: a mapping of options is expected")
    return content


def split_words(
    argv: Sequence[str], flags: Collection[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Part the words of a command line: ``--key=value``, ``--key value``, bare ``--key``, others.

    A dash within a name is an underscore. RecBole's ``config_file_list`` is ``config_files``.

    Args:
        argv: The words.
        flags: Options that say yes or no: only such a word after them is their value.

    Returns:
        The words that belong to no option, and the options as text; a bare one is ``true``.

    Raises:
        InputError: If an option has no name, or is given twice with different values.

    Example:
        >>> split_words(["--quiet", "runs/a", "--topk", "5", "--users=u1,u2"], ["quiet"])
        (['runs/a'], {'quiet': 'true', 'topk': '5', 'users': 'u1,u2'})
    """
    places: list[str] = []
    options: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            places.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        if not word.startswith("--") or word == "--":
            raise InputError(f"{word!r} is not an option: write --key=value or --key value")
        if not all(key.split(".")):
            raise InputError(f"{word!r} is not an option: the name is missing")
        key = _OF_RECBOLE.get(key.replace("-", "_"), key.replace("-", "_"))
        if not equals:
            follows = bool(words) and not words[0].startswith("--")
            follows = follows and (key not in flags or words[0].lower() in _YES_NO)
            value = words.pop(0) if follows else "true"
        if options.get(key, value) != value:
            raise InputError(f"--{key} is given twice: {options[key]} and {value}")
        options[key] = value
    return places, options


def parse_argv(argv: Sequence[str]) -> dict[str, str]:
    """Read words that are all options, see :func:`split_words`.

    Raises:
        InputError: As there, and if a word belongs to no option.

    Example:
        >>> parse_argv(["--epochs=3", "--model", "BPR", "--quiet"])
        {'epochs': '3', 'model': 'BPR', 'quiet': 'true'}
    """
    places, options = split_words(argv)
    for word in places:
        raise InputError(f"{word!r} is not an option: write --key=value or --key value")
    return options


def split_list(text: str) -> list[str]:
    """Read a list given as text, in brackets or not; quotes as in YAML keep a comma.

    Example:
        >>> split_list("a, b"), split_list("[a,b]"), split_list("a")
        (['a', 'b'], ['a', 'b'], ['a'])
        >>> split_list('["a,b", c]')
        ['a,b', 'c']
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if '"' in text or "'" in text:
        with contextlib.suppress(yaml.YAMLError):
            entries = yaml.load(f"[{text}]", yaml.BaseLoader)  # text alone: 007 stays
            if isinstance(entries, list) and all(isinstance(entry, str) for entry in entries):
                return entries
    return [part.strip() for part in text.split(",") if part.strip()]


class Dotted(dict[str, Any]):
    """A mapping that was written with dotted keys, and so adds to the one below it."""


def nest(options: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested mappings.

    Args:
        options: ``{"eval_args.mode": "uni100"}`` and the like.

    Raises:
        ValueError: If a key is both a value and a mapping.

    Example:
        >>> nest({"eval_args.mode": "uni100", "epochs": 3})
        {'eval_args': {'mode': 'uni100'}, 'epochs': 3}
    """
    nested: dict[str, Any] = {}
    for dotted, value in options.items():
        *parents, leaf = dotted.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, Dotted())
            if not isinstance(node, dict):
                raise InputError(f"{dotted}: {parent} is also given as a value")
        if isinstance(node.get(leaf), dict):
            raise InputError(f"{dotted}: given as a value and as a mapping")
        node[leaf] = value
    return nested


def merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay options over one another, later over earlier.

    Args:
        layers: Origin and options, lowest priority first. What was :class:`Dotted` merges at any
            depth, :data:`MERGED` by one key, and other dictionaries are replaced.

    Returns:
        Merged options, and the origin of each one (nested ones as ``eval_args.mode``).

    Example:
        >>> merge([("a", {"eval_args": {"order": "RO", "mode": "full"}}),
        ...        ("b", {"eval_args": {"mode": "uni100"}})])[0]
        {'eval_args': {'order': 'RO', 'mode': 'uni100'}}
    """
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, options in layers:
        for key, value in options.items():
            if isinstance(value, Dotted) or (isinstance(value, dict) and key in MERGED):
                base = values.get(key)
                base = base if isinstance(base, dict) else {}
                whole = origins.pop(key, None)
                if whole is not None:
                    origins.update({f"{key}.{inner}": whole for inner in base})
                values[key] = _overlay(base, value)
                origins.update({f"{key}.{inner}": origin for inner in value})
            else:
                values[key] = value
                for inner in [name for name in origins if name.startswith(f"{key}.")]:
                    del origins[inner]
                origins[key] = origin
    return values, origins


def _overlay(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(value, Dotted):
            if key == "mode" and isinstance(below, str):
                below = {"valid": below, "test": below}  # eval_args.mode: full stands for both
            value = _overlay(below if isinstance(below, dict) else {}, value)
        result[key] = value
    return result


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant.

    Returns:
        ``"; did you mean X?"``, or nothing if no name is near.

    Example:
        >>> nearest("learnng_rate", ["learning_rate", "learner"])
        '; did you mean learning_rate?'
    """
    known = list(known)
    lowered = {other.lower(): other for other in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[match[0]]}?" if match else ""


def flatten(options: Mapping[str, Any], origins: Mapping[str, str]) -> list[tuple[str, Any, str]]:
    """List (key, value, origin), nested where the origins are."""
    rows = []
    for key in sorted(options):
        inner = sorted(name for name in origins if name.startswith(f"{key}."))
        if key in origins or not inner or not isinstance(options[key], Mapping):
            rows.append((key, options[key], origins.get(key, "computed")))
        else:
            rows += [(name, options[key][name[len(key) + 1 :]], origins[name]) for name in inner]
    return rows


def split_files(options: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Part the names of files, ``config_files`` as text or a list, from the options.

    Example:
        >>> split_files({"config_files": "[a.yaml, b.yaml]", "model": "BPR"})
        (['a.yaml', 'b.yaml'], {'model': 'BPR'})
        >>> split_files({"config_files": "a.yaml b.yaml"})[0]  # as RecBole takes them
        ['a.yaml', 'b.yaml']
    """
    rest = dict(options)
    files = rest.pop("config_files", None) or []
    if isinstance(files, str):
        files = split_list(files if "," in files else ",".join(files.split()))
    return [str(name) for name in files], rest


def with_lists(
    options: Mapping[str, Any], defaults: Mapping[str, Any], lists: Collection[str] = ()
) -> dict[str, Any]:
    """Read text such as ``a,b`` as a list where an option is one.

    Args:
        options: Those of the user, which keep their kind of mapping.
        defaults: What they lie over: an option whose default is a list is one.
        lists: Options that are lists whatever their default. Any other text stays text.

    Example:
        >>> with_lists({"topk": "5,10", "gpu_id": "0,1"}, {"topk": [10], "gpu_id": "0"})
        {'topk': [5, 10], 'gpu_id': '0,1'}
    """
    read: dict[str, Any] = Dotted(options) if isinstance(options, Dotted) else dict(options)
    for key, value in options.items():
        default = [] if key in lists else defaults.get(key)
        if key in _COLUMNS and isinstance(value, Mapping):
            default = {suffix: [] for suffix in value}
        if isinstance(value, str) and "," in value and isinstance(default, list):
            read[key] = parse_value(key, f"[{value}]")
        elif isinstance(value, Mapping) and isinstance(default, Mapping):
            read[key] = with_lists(value, default)
    return read


def one_line(text: Any) -> str:
    r"""Text, or an error's, on one line; what a terminal would obey is escaped.

    Example:
        >>> one_line("no such   file ")
        'no such file'
        >>> one_line("a name \x1b[2J")
        'a name \\x1b[2J'
    """
    return printable(" ".join(str(text).split()))


def printable(text: str) -> str:
    r"""Text in which control characters, line ends among them, are escaped as Python does.

    Example:
        >>> printable("one\ntwo"), printable("naïve ✓")
        ('one\\ntwo', 'naïve ✓')
    """
    if text.isprintable():
        return text
    return "".join(repr(c)[1:-1] if unicodedata.category(c) in _CONTROL else c for c in text)


def refuse_control(option: str, name: str) -> str:
    """Refuse a name that would not stay on its line of a log, a table or a terminal.

    Args:
        option: What says it, for the message.
        name: Of a dataset, a run, a study.

    Returns:
        The name.

    Raises:
        OptionError: If it has a control character.
    """
    if printable(name) != name:
        raise OptionError(option, repr(name), "a name without control characters is expected")
    return name
