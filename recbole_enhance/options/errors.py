"""Errors about bad input: of an option, a data file, a run folder.

Each is a ``ValueError`` whose text is one line. The command line prints that line and ends with
status 2; whatever else is raised is a fault of the program.
"""

from typing import Any


class InputError(ValueError):
    """What the user gave cannot be used; the text says what it is, and what is allowed."""


class NotFiniteError(InputError):
    """A loss or scores are NaN or infinite: training has diverged.

    Args:
        problem: What is wrong.
        last_good: The file that holds earlier parameters of the run, whose scores were finite.
    """

    def __init__(self, problem: str, last_good: Any = None) -> None:
        super().__init__(problem, last_good)
        self.problem, self.last_good = problem, last_good

    def __str__(self) -> str:
        return self.problem


class OptionError(InputError):
    """An option has a value that it cannot have.

    Args:
        option: Its name, as ``eval_args.mode``.
        value: What was given.
        allowed: What is allowed, or why this is not.
        origin: Where it was said, as ``command line``; None if unknown.

    Example:
        >>> print(OptionError("epochs", -1, "must not be below 0", "command line"))
        epochs=-1: must not be below 0 (command line)
    """

    def __init__(self, option: str, value: Any, allowed: str, origin: str | None = None) -> None:
        super().__init__(option, value, allowed, origin)  # pickle makes it again from these
        self.option, self.value, self.allowed, self.origin = option, value, allowed, origin

    def __str__(self) -> str:
        where = f" ({self.origin})" if self.origin else ""
        shown = self.value
        if isinstance(shown, str) and not shown.isprintable():
            shown = repr(shown)
        return f"{self.option}={shown}: {self.allowed}{where}"


class UnknownOptionError(InputError):
    """An option that this run does not have.

    Args:
        option: Its name.
        problem: What is wrong with it.
        origin: Where it was said; None if that does not matter.
        hint: What follows, as ``; did you mean epochs?``.

    Example:
        >>> print(UnknownOptionError("learnng_rate", "unknown option", "command line"))
        learnng_rate: unknown option (command line)
    """

    def __init__(
        self, option: str, problem: str, origin: str | None = None, hint: str = ""
    ) -> None:
        super().__init__(option, problem, origin, hint)
        self.option, self.problem, self.origin, self.hint = option, problem, origin, hint

    def __str__(self) -> str:
        where = f" ({self.origin})" if self.origin else ""
        return f"{self.option}: {self.problem}{where}{self.hint}"


class DataError(InputError):
    """A file of data does not hold what it should.

    Args:
        path: The file.
        problem: What is wrong.
        line: Its number, from 1.
        column: The column's name.
        value: What stands there; None if that does not matter.

    Example:
        >>> print(DataError("toy.inter", "a number is expected", 7, "rating", "good"))
        toy.inter:7: rating='good': a number is expected
    """

    def __init__(
        self,
        path: Any,
        problem: str,
        line: int | None = None,
        column: str | None = None,
        value: Any = None,
    ) -> None:
        super().__init__(path, problem, line, column, value)
        self.path, self.problem = path, problem
        self.line, self.column, self.value = line, column, value

    def __str__(self) -> str:
        place = f"{self.path}" if self.line is None else f"{self.path}:{self.line}"
        what = [self.column or "value", f"={self.value!r}"] if self.value is not None else []
        what = what or ([f"column {self.column}"] if self.column else [])
        return ": ".join([place, *(["".join(what)] if what else []), self.problem])


class RunFolderError(InputError):
    """A folder or a file of a run is not what it should be.

    Args:
        path: The folder or the file.
        problem: What is wrong with it.

    Example:
        >>> print(RunFolderError("runs/x/metrics.json", "not JSON"))
        runs/x/metrics.json: not JSON
    """

    def __init__(self, path: Any, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"
