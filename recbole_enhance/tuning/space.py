"""Search spaces as data: our YAML, RecBole's hyper files, and the ones that ship with us."""

import ast
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments

from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import load_yaml, nearest, parse_value
from recbole_enhance.options.schema import is_finite

Space = dict[str, "Parameter"]
KINDS = ("choice", "uniform", "loguniform", "quniform", "int")
_DEFAULT = "default"  # the file of a model that has none
_HYPER_KINDS = KINDS[:4]
# Besides all options of data and evaluation, which must be the same for all trials.
_FIXED = ("model", "dataset", "backbone")
_FREE = ("MAX_ITEM_LIST_LENGTH",)  # counts as data in RecBole, and is the model's


@dataclass(frozen=True)
class Parameter:
    """One searched option.

    Attributes:
        name: The option; dots reach into mappings (``train_neg_sample_args.sample_num``).
        kind: One of :data:`KINDS`.
        values: The choices; or lowest and highest, and under ``quniform`` the step.
    """

    name: str
    kind: str
    values: tuple[Any, ...]

    def suggest(self, trial: Any) -> Any:
        """The option's value in an Optuna trial."""
        if self.kind == "choice":
            labels = {_label(value): value for value in self.values}
            return labels[trial.suggest_categorical(self.name, list(labels))]
        if self.kind == "int":
            return trial.suggest_int(self.name, *self.values)
        if self.kind == "quniform":
            low, high, step = self.values
            whole = all(isinstance(value, int) for value in self.values)
            draw = trial.suggest_int if whole else trial.suggest_float
            return draw(self.name, low, high, step=step)
        return trial.suggest_float(self.name, *self.values, log=self.kind == "loguniform")

    def decode(self, suggested: Any) -> Any:
        """The option's value from what Optuna has stored of it."""
        if self.kind != "choice":
            return suggested
        return next(value for value in self.values if _label(value) == suggested)

    @property
    def corners(self) -> tuple[Any, ...]:
        """Values that must be allowed: all choices, or both ends."""
        return self.values if self.kind == "choice" else self.values[:2]

    @property
    def size(self) -> float:
        """How many values there are."""
        if self.kind == "choice":
            return len(self.values)
        if self.kind == "int":
            return self.values[1] - self.values[0] + 1
        if self.kind == "quniform":
            low, high, step = self.values
            return math.floor((high - low) / step + 1e-9) + 1
        return math.inf

    def index_of(self, suggested: Any) -> int:
        """Place of a value among those that there are, from what Optuna has stored of it."""
        if self.kind == "choice":
            return [_label(value) for value in self.values].index(suggested)
        return round((suggested - self.values[0]) / (self.values[2] if self.values[2:] else 1))

    def suggested_at(self, index: int) -> Any:
        """What Optuna stores of the value at a place."""
        if self.kind == "choice":
            return _label(self.values[index])
        return self.values[0] + index * (self.values[2] if self.values[2:] else 1)


def number_of(space: Space, suggested: Mapping[str, Any]) -> int:
    """A setting's number among all settings of a finite space.

    Example:
        >>> space = parse({"k": {"choice": [50, 100]}, "n": {"int": [1, 3]}}, "here")
        >>> [number_of(space, setting_at(space, number)) for number in range(6)]
        [0, 1, 2, 3, 4, 5]
    """
    number = 0
    for name, parameter in space.items():
        number = number * int(parameter.size) + parameter.index_of(suggested[name])
    return number


def setting_at(space: Space, number: int) -> dict[str, Any]:
    """The setting of a number, as Optuna stores it; see :func:`number_of`."""
    setting = {}
    for name, parameter in reversed(space.items()):
        number, index = divmod(number, int(parameter.size))
        setting[name] = parameter.suggested_at(index)
    return {name: setting[name] for name in space}


def size(space: Space) -> float:
    """How many different trials a space holds.

    Example:
        >>> size(parse({"k": {"choice": [50, 100]}, "n": {"int": [1, 3]}}, "here"))
        6
    """
    return math.prod(parameter.size for parameter in space.values())


def plain(space: Space) -> dict[str, dict[str, list[Any]]]:
    """The space in the form of its YAML."""
    return {name: {p.kind: list(p.values)} for name, p in space.items()}


def read(source: Mapping[str, Any] | str | Path) -> Space:
    """Read a search space.

    Args:
        source: A mapping in the form of the YAML, or a file of it, or RecBole's hyper file.

    Raises:
        ValueError: If the file is missing, or a line of it is no search space.
    """
    if isinstance(source, Mapping):
        return parse(source, "search space")
    path = Path(source)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError(f"search space {path}: is not a regular file")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"search space {path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"search space {path}: cannot be read ({error})") from error
    if path.suffix.lower() not in (".yaml", ".yml") or _is_hyper(text):
        return parse_hyper(text, f"search space {path}")
    try:
        content = load_yaml(path)
    except ValueError as error:
        raise ValueError(f"search space {path}: {error}") from error
    return parse(content, f"search space {path}")


def _is_hyper(text: str) -> bool:
    """Whether the first line says so: RecBole's own examples are called .yaml too."""
    lines = (line.split() for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = next((words for words in lines if words), [])
    return len(words) > 2 and words[1] in _HYPER_KINDS


def parse(content: Mapping[str, Any], where: str) -> Space:
    """Read a mapping of options to what is tried of them.

    Args:
        content: ``{option: {kind: values}}``, or a list of choices for short.
        where: What the content came from, for messages.

    Raises:
        ValueError: Naming the option and what is expected.

    Example:
        >>> parse({"learning_rate": {"loguniform": [1e-4, 1e-2]}, "k": [50, 100]}, "here")["k"]
        Parameter(name='k', kind='choice', values=(50, 100))
    """
    space = {}
    for name, said in content.items():
        if isinstance(said, list):
            said = {"choice": said}
        if not (isinstance(said, Mapping) and len(said) == 1):
            raise ValueError(
                f"{where}: {name}: {said}: one of {', '.join(KINDS)} with its values is expected, "
                "{loguniform: [1.0e-4, 1.0e-2]}"
            )
        kind, values = next(iter(said.items()))
        if kind not in KINDS:
            raise ValueError(
                f"{where}: {name}: {kind}: one of {', '.join(KINDS)} is expected"
                + nearest(str(kind), KINDS)
            )
        space[name] = _parameter(str(name), kind, values, where)
    return space


def parse_hyper(text: str, where: str) -> Space:
    """Read RecBole's hyper file: lines of option, kind and values. Nothing is evaluated.

    As in RecBole, the ends of ``loguniform`` are natural logarithms, and text among the choices is
    read as a value is on the command line (``'[64,32]'`` is a list).

    Args:
        text: The file's content.
        where: The file, for messages.

    Raises:
        ValueError: Naming the line and what is expected.

    Example:
        >>> space = parse_hyper("learning_rate choice [0.01, 0.005]", "here")
        >>> space["learning_rate"].values
        (0.01, 0.005)
    """
    space: Space = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        at = f"{where}, line {number}"
        words = line.split(None, 2)
        if len(words) < 3 or words[1] not in _HYPER_KINDS:
            raise ValueError(
                f"{at}: OPTION {'|'.join(_HYPER_KINDS)} VALUES is expected, "
                f"not {line.strip()[:60]!r}"
            )
        name, kind, values = words
        if name in space:
            raise ValueError(f"{at}: {name} is given twice")
        space[name] = _parameter(name, kind, _hyper_values(name, kind, values, at), at)
    return space


def _hyper_values(name: str, kind: str, text: str, at: str) -> list[Any]:
    if kind == "choice":
        try:
            values = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            values = None
        if not isinstance(values, (list, tuple)):
            raise ValueError(f"{at}: {name}: a list of choices is expected, not {text[:60]!r}")
        return [parse_value(name, v) if isinstance(v, str) else v for v in values]
    numbers = [parse_value(name, word) for word in text.replace(" ", "").split(",")]
    if kind == "loguniform" and all(map(is_finite, numbers)):
        try:
            return [math.exp(number) for number in numbers]
        except OverflowError:
            raise ValueError(f"{at}: {name}: e to the {max(numbers)} is too large") from None
    return numbers


def _parameter(name: str, kind: str, values: Any, where: str) -> Parameter:
    at = f"{where}: {name}: {kind}"
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{at}: {values}: a list is expected")
    if kind == "choice":
        _refuse_bad_choices(values, at)
        return Parameter(name, kind, tuple(values))
    wanted = 3 if kind == "quniform" else 2
    if len(values) != wanted or not all(map(is_finite, values)):
        form = "[low, high, step]" if wanted == 3 else "[low, high]"
        raise ValueError(f"{at}: {list(values)}: finite numbers {form} are expected")
    low, high, *step = values
    if kind == "int" and not (isinstance(low, int) and isinstance(high, int)):
        raise ValueError(f"{at}: {list(values)}: whole numbers are expected")
    if step:
        if step[0] <= 0:
            raise ValueError(f"{at}: {list(values)}: a step above 0 is expected")
        low, high = _on_steps(low, high, step[0])
    if low >= high:
        raise ValueError(f"{at}: {list(values)}: an empty range, the first must be the smaller")
    if kind == "loguniform" and low <= 0:
        raise ValueError(f"{at}: {list(values)}: numbers above 0 are expected")
    if kind in ("uniform", "loguniform"):
        low, high = float(low), float(high)
    return Parameter(name, kind, (low, high, *step))


def _on_steps(low: Any, high: Any, step: Any) -> tuple[Any, Any]:
    """Both ends as multiples of the step, which is what hyperopt's ``quniform`` draws."""
    return round(low / step) * step, round(high / step) * step


def _refuse_bad_choices(values: Sequence[Any], at: str) -> None:
    if not values:
        raise ValueError(f"{at}: no choices: an empty list")
    for number, value in enumerate(values):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError(f"{at}: {value!r}: plain finite values are expected") from None
        if any(value == other for other in values[:number]):  # also 1 and True, which SQL confuses
            raise ValueError(f"{at}: {value} is given twice")


def _label(value: Any) -> Any:
    """What Optuna stores for a choice: a value that a database holds, or JSON text."""
    return json.dumps(value) if isinstance(value, (list, tuple, dict)) else value


def packaged(backbone: str, method: str | None, trained: bool) -> Space:
    """The space that ships with us: the backbone's, and over it the method's.

    Args:
        backbone: Name of the model.
        method: Name of the method over it, or None.
        trained: Whether the model learns by gradient; one that has no file of its own is then
            searched as ``properties/tune/default.yaml`` says.
    """
    folder = resource_dir("properties") / "tune"
    space: Space = {}
    own = (folder / f"{backbone}.yaml").is_file()
    names = [backbone if own else _DEFAULT] if own or trained else []
    for name in [*names, method]:
        path = folder / f"{name}.yaml"
        if path.is_file():
            space.update(parse(load_yaml(path), f"tune/{path.name}"))
    return space


def refuse_bad_options(
    space: Space, make_config: Callable[[Mapping[str, Any]], Any], where: str
) -> None:
    """Let every choice and both ends of every range pass the checks of a run's options.

    Args:
        space: The space.
        make_config: Builds the run's settings with some options changed.
        where: What the space came from, for the message.

    Raises:
        ValueError: If an option is unknown, belongs to data or evaluation, or has no such value.
    """
    protocol = {
        *_FIXED,
        *general_arguments,
        *evaluation_arguments,
        *dataset_arguments,
        *load_yaml(resource_dir("properties") / "overall.yaml"),
    } - set(_FREE)
    for name, parameter in space.items():
        if name.split(".")[0] in protocol:
            raise ValueError(
                f"{where}: {name}: data and evaluation are the same in all trials; "
                f"give it as an option of the run, --{name}=VALUE"
            )
        for value in parameter.corners:
            try:
                make_config({name: value})
            except ValueError as error:
                told = isinstance(error, (OptionError, UnknownOptionError)) and error.option == name
                named = "" if told else f"{name}={value}: "
                raise ValueError(f"{where}: {named}{error}") from error
