"""The command line: ``recbole-enhance [VERB] [--key=value ...]``."""

import os
import sys
import traceback
from collections.abc import Sequence

import click
from click.shell_completion import BashComplete, add_completion_class, shell_complete

from recbole_enhance import __version__
from recbole_enhance.cli.attack import ATTACK
from recbole_enhance.cli.command import Verb, Verbs
from recbole_enhance.cli.config import CONFIG
from recbole_enhance.cli.data import DATA
from recbole_enhance.cli.doctor import DOCTOR
from recbole_enhance.cli.estimate import ESTIMATE
from recbole_enhance.cli.evaluate import EVALUATE
from recbole_enhance.cli.explain import EXPLAIN
from recbole_enhance.cli.export import EXPORT
from recbole_enhance.cli.frontier import FRONTIER
from recbole_enhance.cli.leaderboard import LEADERBOARD
from recbole_enhance.cli.list import LIST
from recbole_enhance.cli.recommend import RECOMMEND
from recbole_enhance.cli.reproduce import REPRODUCE
from recbole_enhance.cli.run import RUN
from recbole_enhance.cli.tune import TUNE
from recbole_enhance.cli.values import VALUES
from recbole_enhance.options import launched
from recbole_enhance.options.read import one_line

FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
PROGRAM = "recbole-enhance"
_COMPLETE = "_RECBOLE_ENHANCE_COMPLETE"


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(__version__)
        ctx.exit()


VERBS = Verbs(
    PROGRAM,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version and exit.",
        )
    ],
    help="Train, recommend, explain, attack and compare. The default verb is `run`.",
    epilog="`recbole-enhance VERB --help` shows the options of a verb. Options are --key=value, "
    "--key value or, for yes, --key; lists are a,b or [a,b]. See docs/command_line.md.",
    default="run",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands=[
        RUN,
        DATA,
        CONFIG,
        ESTIMATE,
        TUNE,
        LEADERBOARD,
        RECOMMEND,
        EXPORT,
        EVALUATE,
        FRONTIER,
        EXPLAIN,
        ATTACK,
        VALUES,
        REPRODUCE,
        LIST,
        DOCTOR,
        Verb(
            "version",
            callback=lambda: click.echo(__version__),
            help="Show the version.",
            example="recbole-enhance version",
        ),
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after the program's name; the process's own by default.

    Returns:
        Exit status: 0; 2 for bad input and 1 if memory ran out (one line on standard error); 130
        when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if os.environ.get(_COMPLETE):  # a shell asks
        return shell_complete(VERBS, {}, PROGRAM, _COMPLETE, os.environ[_COMPLETE])
    if launched.size() > 1:  # else torch prints C++ traces when another ends
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        status = _do(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `recbole-enhance list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError, click.ClickException) as error:
        if "--state=DEBUG" in words:
            traceback.print_exc()
        _tell(_reason(error))
        return BAD_INPUT
    except Exception as error:
        # These import torch, as --help does not.
        from recbole_enhance.storage.processes import ProcessEndedError
        from recbole_enhance.storage.tensor_files import out_of_memory

        if isinstance(error, ProcessEndedError):
            _tell(str(error), ended=True)
            return FAILED
        if not out_of_memory(error):
            raise
        _tell(f"out of memory: {one_line(error)}")
        return FAILED


def _reason(error: Exception) -> str:
    """Say in one line what is wrong; of a file that cannot be read or written, without errno."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}")
    return one_line(error)


def _tell(line: str, ended: bool = False) -> None:
    """Print why the program ends; of several processes, only the first that ends prints it."""
    if launched.size() > 1:
        from recbole_enhance.storage.processes import first_to_tell

        if not first_to_tell(ended):
            return
    print(f"{PROGRAM}: error: {line}", file=sys.stderr)


def _do(words: list[str]) -> int:
    try:
        if not words:
            context = click.Context(VERBS, info_name=PROGRAM, **VERBS.context_settings)
            print(context.get_help(), file=sys.stderr)
            return BAD_INPUT
        with VERBS.make_context(PROGRAM, words.copy()) as context:
            return VERBS.invoke(context) or 0
    except click.exceptions.Exit as end:  # after --help
        return end.exit_code


class _Bash(BashComplete):
    """Bash makes three words of ``--key=value``."""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, incomplete = super().get_completion_args()
        return (args[:-1] if args[-1:] == ["="] else args), incomplete


add_completion_class(_Bash)
