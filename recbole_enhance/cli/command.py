"""What all verbs share: the parser of the command line, help, and options in files."""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from recbole_enhance import __version__
from recbole_enhance.cli.kinds import ORIGINS, Dataset, Kind, List, Model, YesNo
from recbole_enhance.options import launched
from recbole_enhance.options.errors import InputError, UnknownOptionError
from recbole_enhance.options.read import load_yaml, nearest, split_files, split_list, split_words

_OF_GROUP = ("-h", "--help", "--version")


class Option(click.Option):
    """An option of a verb, given by its whole name.

    Args:
        name: Its name, without dashes.
        type: Its kind.
        sentence: What it is, for the help.
        default: What the verb's function gets if the option is not given.
        of_run: Whether it is an option of the run, and is passed on as text with the others.
        typed: Whether the verb's function gets it by its name.
        in_files: Whether it may be in the files of ``--config_files``.
    """

    def __init__(
        self,
        name: str,
        type: Kind,
        sentence: str,
        default: Any = None,
        of_run: bool = False,
        typed: bool = True,
        in_files: bool = True,
    ) -> None:
        super().__init__([f"--{name}", name], type=type, default=default, expose_value=typed)
        self.sentence, self.of_run, self.in_files = sentence, of_run, in_files

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """The option's line in the help."""
        default = ",".join(self.default) if isinstance(self.default, tuple) else self.default
        default = "yes" if default is True else default
        shown = f" [{default}]" if default not in (None, False, "") else ""
        value = "" if isinstance(self.type, YesNo) else f"={self.type.metavar}"  # type: ignore[attr-defined]
        return f"--{self.name}{value}", self.sentence + shown


class Place(click.Argument):
    """A positional argument: the files or folders that a verb works on.

    Args:
        name: Parameter of the verb's function.
        metavar: Its name in help and messages.
        sentence: What is expected.
        required: Whether there must be one.
        many: Whether there may be more than one.
    """

    def __init__(
        self, name: str, metavar: str, sentence: str, required: bool = True, many: bool = False
    ) -> None:
        nargs = -1 if many else 1
        super().__init__([name], required=False, nargs=nargs, metavar=metavar, type=click.Path())
        self.sentence, self.needed, self.many = sentence, required, many

    def check(self, verb: str, given: Sequence[str]) -> None:
        """Refuse too few or too many of them.

        Raises:
            InputError: Naming the verb and what it takes.
        """
        if self.needed and not given:
            verb_form = "are" if self.many else "is"
            raise InputError(f"{verb} {self.metavar}: {self.sentence} {verb_form} expected")
        if not self.many and len(given) > 1:
            raise InputError(f"{verb} takes one {self.metavar}, not {len(given)}")


class _Usage(click.Command):
    """A command whose usage line and help have our form."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the line of usage."""
        pieces = " ".join(self.collect_usage_pieces(ctx))
        formatter.write_usage(ctx.command_path, pieces, prefix="usage: ")


class Verb(_Usage):
    """A command whose words are read by :func:`~recbole_enhance.options.read.split_words`.

    The verb's function gets the verb's own options by name. If the verb also takes the options of a
    run, the function gets these as text, in ``options``. The files of ``--config_files`` then hold
    options of the run; otherwise they hold the verb's own options. A later file overrides an
    earlier one, and the command line overrides all files.

    Args:
        *args: As :class:`click.Command`.
        example: Lines for the help.
        takes_run_options: Whether options that are not its own are those of a run.
        takes_processes: Whether several processes of one launcher may run it together.
        **kwargs: As :class:`click.Command`.
    """

    def __init__(
        self,
        *args: Any,
        example: str = "",
        takes_run_options: bool = False,
        takes_processes: bool = False,
        **kwargs: Any,
    ) -> None:
        options = takes_run_options or any(isinstance(p, Option) for p in kwargs.get("params", ()))
        kwargs["options_metavar"] = "[--key=value ...]" if options else None
        super().__init__(*args, **kwargs)
        self.example, self.takes_run_options = example, takes_run_options
        self.takes_processes = takes_processes

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words after the verb."""
        if not {"-h", "--help"}.isdisjoint(args):
            return super().parse_args(ctx, ["--help"])
        if "--version" in args:
            click.echo(__version__)
            ctx.exit()
        if launched.size() > 1 and not self.takes_processes:
            verb = ctx.command_path.partition(" ")[2]
            raise InputError(f"{verb}: takes one process, not the {launched.size()} of WORLD_SIZE")
        options = {str(p.name): p for p in self.params if isinstance(p, Option)}
        flags = [name for name, option in options.items() if isinstance(option.type, YesNo)]
        flags += _flags_of_runs() if self.takes_run_options else []
        args = [_underscored(word, options) for word in args]
        if ctx.resilient_parsing:  # a shell completes a line, which may be incomplete
            with contextlib.suppress(InputError):
                places, given = split_words([word for word in args if word != "="], flags)
                return super().parse_args(ctx, _in_order({}, places))
            return []
        places, given = split_words(args, flags)
        self._check_places(ctx, places)
        unknown = [] if self.takes_run_options else [key for key in given if key not in options]
        for key in unknown:
            raise UnknownOptionError(f"--{key}", f"unknown option{_known(key, options)}")
        self._read_files(ctx, split_files(given)[0], options, given)
        if _names_own_code(given):
            sys.path.insert(0, os.getcwd())  # modules of the user's folder, as with python -m
        own = {key: text for key, text in given.items() if key in options}
        typed = {key: text for key, text in own.items() if options[key].expose_value}
        rest = super().parse_args(ctx, _in_order(typed, places))
        if self.takes_run_options:
            of_run = {k: v for k, v in given.items() if k not in own or options[k].of_run}
            ctx.params["options"] = of_run
        return rest

    def _check_places(self, ctx: click.Context, places: Sequence[str]) -> None:
        verb = ctx.command_path.partition(" ")[2]
        taken = [param for param in self.params if isinstance(param, Place)]
        for place in taken:
            place.check(verb, places)
        if places and not taken:
            raise InputError(f"{places[0]!r} is not an option: write --key=value or --key value")

    def _read_files(
        self,
        ctx: click.Context,
        files: Sequence[str],
        options: Mapping[str, Option],
        given: Mapping[str, str],
    ) -> None:
        """Take the verb's own options from files, below those of the command line."""
        values: dict[str, Any] = {}
        origins = ctx.meta.setdefault(ORIGINS, {})
        for file in files:
            for key, value in load_yaml(file).items():
                option = options.get(key)
                mine = option is not None and option.expose_value
                if not self.takes_run_options:
                    if option is None:
                        problem = f"unknown option{_known(key, options)}"
                        raise UnknownOptionError(f"{file}: {key}", problem)
                    if not option.in_files:
                        raise UnknownOptionError(f"{file}: {key}", "give it on the command line")
                if mine and self.takes_run_options and key != "quiet":
                    problem = f"not an option of a run; write --{key}={value} on the command line"
                    raise UnknownOptionError(f"{file}: {key}", problem)
                if mine and value is not None and (not self.takes_run_options or key == "quiet"):
                    values[key] = value
                    if key not in given:
                        origins[key] = file
        ctx.default_map = values

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the description, and the positional arguments."""
        super().format_help_text(ctx, formatter)
        for place in (param for param in self.params if isinstance(param, Place)):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(f"{place.metavar}: {place.sentence}.")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, and where the options of a run are listed."""
        options = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        records = [option.get_help_record(ctx) for option in options]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
            if self.takes_run_options:
                text = "and any option of a run, see `recbole-enhance config options`"
                formatter.write_text(
                    f"{text}; a dot names an entry of a mapping: --eval_args.mode=uni100"
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"  {line}\n")


class Verbs(_Usage, click.Group):
    """A group of verbs.

    Args:
        *args: As :class:`click.Group`.
        default: The verb that is meant if none is named.
        **kwargs: As :class:`click.Group`.
    """

    def __init__(self, *args: Any, default: str | None = None, **kwargs: Any) -> None:
        kwargs.update(no_args_is_help=False, options_metavar=None, subcommand_metavar="VERB ...")
        super().__init__(*args, **kwargs)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the verb."""
        if args[:1] == ["help"]:
            args = [*args[1:], "--help"]
        if args and args[0].startswith("-") and self.default and args[0] not in _OF_GROUP:
            args = [self.default, *args]
        if not args and not ctx.resilient_parsing:
            path = ctx.command_path.partition(" ")[2]
            verbs = (self.commands[name] for name in self.list_commands(ctx))
            usages = (" ".join([path, str(v.name), *_places_of(v)]).strip() for v in verbs)
            raise InputError(f"{path}: a verb is missing: {', '.join(usages)}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Look up a verb; if there is no such verb, list those that there are."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            path, known = ctx.command_path.partition(" ")[2], self.list_commands(ctx)
            verb = f"{path} {args[0]}".strip()
            hint = f"{nearest(args[0], known)} (verbs: {', '.join(known)})"
            raise InputError(f"{verb}: unknown verb{hint}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Verbs in the order in which they were added."""
        return list(self.commands)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters; for shell completion also those of the default verb."""
        params = super().get_params(ctx)
        if ctx.resilient_parsing and self.default:
            params = [*params, *self.commands[self.default].params]
        return params


def _names_own_code(given: Mapping[str, str]) -> bool:
    """Whether an option names a class or a method of the user's, which is then imported."""
    if any(":" in given.get(key, "") for key in ("model", "backbone")):
        return True
    if ":" not in given.get("models", ""):
        return False
    from recbole_enhance.leaderboard.rows import names_own_code  # slow to import

    return any(map(names_own_code, split_list(given["models"])))


def _flags_of_runs() -> list[str]:
    """Options of every run that say yes or no."""
    from recbole_enhance.options.general import GeneralOptions
    from recbole_enhance.options.recbole import RecBoleOptions
    from recbole_enhance.options.schema import describe

    return [
        key
        for schema in (GeneralOptions, RecBoleOptions)
        for key in schema.model_fields
        if describe(schema, key).kind == "bool"
    ]


def _underscored(word: str, options: Mapping[str, Any]) -> str:
    """The name of an option, with underscores for the dashes that may be typed instead."""
    key, equals, value = word.partition("=")
    name = key[2:].replace("-", "_")
    known = key.startswith("--") and name in options
    return f"--{name}{equals}{value}" if known else word


def _in_order(options: Mapping[str, str], places: Sequence[str]) -> list[str]:
    """Words as click's own parser takes them."""
    return [*(f"--{key}={text}" for key, text in options.items()), "--", *places]


def _places_of(verb: click.Command) -> list[str]:
    return [str(param.metavar) for param in verb.params if isinstance(param, Place)]


def _known(key: str, options: Mapping[str, Any]) -> str:
    listed = f"; options are {', '.join(options)}" if options else "; this verb has none"
    return nearest(key, options) or listed


RUN_OPTIONS = (
    Option(
        "model",
        Model(),
        "a method (DVR), a RecBole model (BPR), or MODULE:NAME for one of your own",
        of_run=True,
        typed=False,
    ),
    Option(
        "backbone",
        Model(),
        "the model under the method, or MODULE:CLASS for one of your own",
        of_run=True,
        typed=False,
    ),
    Option("dataset", Dataset(), "name of a dataset", of_run=True, typed=False),
    Option(
        "data_path",
        Kind("FOLDER"),
        "folder that contains NAME/NAME.inter",
        of_run=True,
        typed=False,
    ),
    Option(
        "config_files",
        List("FILES"),
        "files of options, a.yaml,b.yaml; the command line has priority",
        of_run=True,
        typed=False,
    ),
)
OWN_CLASS = (
    Option(
        "model",
        Model("MODULE:NAME"),
        "your own method or model, if the run used one: a run folder never imports code",
        in_files=False,
    ),
    Option(
        "backbone",
        Model("MODULE:CLASS"),
        "your own model under a method, if the run used one",
        in_files=False,
    ),
)
OWN_FILES = Option(
    "config_files",
    List("FILES"),
    "files of these options, a.yaml,b.yaml; the command line has priority",
    typed=False,
    in_files=False,
)
QUIET = Option("quiet", YesNo(), "print nothing but errors", default=False)


def own_classes(folder: str, model: str | None, backbone: str | None) -> dict[str, Any]:
    """The user's classes in :data:`OWN_CLASS`, as arguments for loading a finished run."""
    from recbole_enhance.experiment.quick_start import finished_run, named_again

    words = {"model": model, "backbone": backbone}
    given = {name: word for name, word in words.items() if word is not None}
    return named_again(finished_run(folder).path, given) if given else {}


@contextlib.contextmanager
def console(quiet: bool) -> Iterator[None]:
    """Show our own messages, and mend RecBole; its messages go to ``run.log``."""
    from recbole_enhance.compat import mends  # imports torch, as --help does not

    logger = logging.getLogger("recbole_enhance")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    if not launched.is_first():
        handler.setLevel(logging.ERROR)  # the first of several processes speaks for all
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    try:
        mends.apply()
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
