"""The command line: ``recbole-enhance [VERB] [--key=value ...]``."""

import contextlib
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recbole_enhance import __version__
from recbole_enhance.options.read import (
    flatten,
    load_yaml,
    nearest,
    one_line,
    parse_argv,
    parse_flag,
    split_files,
)

USAGE = """\
usage: recbole-enhance [run] --model=NAME --dataset=NAME [--key=value ...]
       recbole-enhance [run] --resume=RUN_DIR [--model=MODULE:NAME] [--backbone=MODULE:CLASS]
       recbole-enhance config show --model=NAME --dataset=NAME [--origin] [--key=value ...]
       recbole-enhance attack RUN_DIR ... [--targets=features,params,own,random] [--key=value ...]
       recbole-enhance explain RUN_DIR [--key=value ...]
       recbole-enhance leaderboard run SPEC.yaml [--out=DIR] [--jobs=2] [--key=value ...]
       recbole-enhance leaderboard run --models=BPR,DVR:BPR --dataset=NAME --seeds=3 --out=DIR
       recbole-enhance leaderboard build DIR
       recbole-enhance reproduce RUN_DIR [--tolerance=0] [--run_dir=PATH] [--threads=N]
       recbole-enhance tune --model=NAME --dataset=NAME [--trials=20] [--key=value ...]
       recbole-enhance list
       recbole-enhance doctor

run          train a model or a method over a model, and report its test result (the default)
config show  print every option of such a run, with --origin also the file it comes from
attack       what perturbed item features or parameters do to a run's lists and explanations:
             --budgets=0.25,0.5  --param_budgets=0.005  --pairs=hits|test  --truth=positive|all
             --topk=5 (list)  --features=5 (per explanation)  --negatives=100 (per user)
explain      CER, EFM and methods over them: the features that explain each recommendation
             (--pairs, --truth, --topk, --features); IaCN: which capsule asks for what, and where
             the items of a history go (--users=u1,u2 or --rows=5, --topk=3, --title=COLUMN);
             RVRec: which stretch of the history carries each recommendation (--users or --rows,
             --k=5, --title)
leaderboard  run models x datasets x seeds, each cell a run folder below --out, keep what is there,
             and build the pages: --jobs=2 (processes)  --threads=1 (each)
             --cluster=tcp://HOST:PORT (Dask)  --tune.trials=20; METHOD:BACKBONE in --models,
             of your own my_package.my_module:MyMethod:BACKBONE
reproduce    run a finished run again and compare: 0 if within --tolerance, 1 if not
tune         search options by validation (docs/tuning.md); a second call goes on where it stopped:
             --trials=20 (in total)  --space=FILE  --out=DIR  --jobs=1  --pruner=median|none
             --storage=URL --study=NAME (one study for many machines)
list         show the methods and RecBole's models
doctor       show versions, what was mended for them, and what cannot run here

--model      a method (DVR) or any RecBole model (BPR, LightGCN, SASRec, ...)
--backbone   the RecBole model under the method
             either may be of your own, a model's class or a method (docs/your_own_method.md):
             --model=my_package.my_module:MyMethod
--dataset    name of a dataset; --data_path=FOLDER holds NAME/NAME.inter
--config_files=a.yaml,b.yaml  files of options; the command line comes after them
--run_dir=PATH  folder of the run;  --quiet  print nothing but errors
Options nest with dots: --eval_args.mode=uni100 keeps split and order.
"""
FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
_VERBS = (
    "run",
    "config",
    "attack",
    "explain",
    "leaderboard",
    "reproduce",
    "tune",
    "list",
    "doctor",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The words after the program's name; the process's own by default.

    Returns:
        Exit status: 0, 2 for bad input and 1 for want of memory (one line on standard error), 130
        when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `recbole-enhance list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (ValueError, OSError) as error:
        if "--state=DEBUG" in words:
            traceback.print_exc()
        print(f"recbole-enhance: error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    except Exception as error:
        from recbole_enhance.storage.tensor_files import (
            out_of_memory,  # imports torch, as --help does not
        )

        if not out_of_memory(error):
            raise
        print(f"recbole-enhance: error: out of memory: {one_line(error)}", file=sys.stderr)
        return FAILED


def _dispatch(words: list[str]) -> int:
    verb = words.pop(0) if words and not words[0].startswith("-") else "run"
    if "--help" in words or verb == "help" or words == ["-h"]:
        print(USAGE, end="")
        return 0
    if "--version" in words:
        print(__version__)
        return 0
    if verb == "doctor":
        from recbole_enhance.compat import doctor

        return doctor.main()
    if verb == "list":
        return _list()
    if verb in _SUBMODULES:
        return _in_submodule(verb, words)
    if verb == "config":
        if words[:1] != ["show"]:
            raise ValueError("config: the verb is `config show`")
        return _config_show(parse_argv(words[1:]))
    if verb != "run":
        raise ValueError(f"{verb}: unknown verb{nearest(verb, _VERBS)}")
    if not words:
        print(USAGE, end="", file=sys.stderr)
        return BAD_INPUT
    return _run(parse_argv(words))


_SUBMODULES = {
    "attack": "recbole_enhance.explanation.attack",
    "explain": "recbole_enhance.cli.explain",
    "leaderboard": "recbole_enhance.cli.leaderboard",
    "reproduce": "recbole_enhance.experiment.reproduce",
    "tune": "recbole_enhance.tuning.tune",
}


def _in_submodule(verb: str, words: list[str]) -> int:
    """Verbs that take words of their own."""
    with _console("--quiet" in words):
        from recbole_enhance.compat import mends

        mends.apply()
        return importlib.import_module(_SUBMODULES[verb]).main(words)


def _run(options: dict[str, str]) -> int:
    quiet = _quiet(options)
    resume = options.pop("resume", None)
    own = {key: options[key] for key in ("model", "backbone") if ":" in options.get(key, "")}
    if own:  # of the user's, in a module of their folder as with python -m
        sys.path.insert(0, os.getcwd())
    if resume is not None:
        others = [key for key in options if key != "quiet" and key not in own]
        if others:
            named = ", ".join(f"--{key}" for key in others)
            raise ValueError(f"--resume takes the options of the run itself, not {named}")
    with _console(quiet):
        # Here, not above: importing torch and RecBole takes seconds that --help need not wait.
        from recbole_enhance.compat import mends

        mends.apply()
        from recbole_enhance.experiment.quick_start import (
            named_again,
            resume_run,
            run_recbole_enhance,
        )

        if resume is not None:
            result = resume_run(resume, quiet, **named_again(resume, own))
        else:
            files, command_line = split_files(options)
            result = run_recbole_enhance(config_file_list=files, command_line=command_line)
    if not quiet:
        print(_table(result))
    return 0


def _quiet(options: Mapping[str, str]) -> bool:
    """The option, on the command line or in the last file that has it."""
    if "quiet" in options:
        return parse_flag("quiet", options["quiet"])
    said = [load_yaml(name).get("quiet") for name in split_files(options)[0]]
    return ([False] + [value for value in said if value is not None])[-1] is True


@contextlib.contextmanager
def _console(quiet: bool) -> Iterator[None]:
    """Show our own messages; those of RecBole go to ``run.log``."""
    logger = logging.getLogger("recbole_enhance")
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING if quiet else logging.INFO)
    logger.addHandler(handler)
    level, logger.level = logger.level, logging.INFO
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _config_show(options: dict[str, str]) -> int:
    from recbole_enhance.experiment.config import Config

    origin = parse_flag("origin", options.pop("origin", "false"))
    files, command_line = split_files(options)
    config = Config(config_file_list=files, command_line=command_line)
    for key, value, where in flatten(config.options, config.origins):
        print(f"{key} = {value}" + (f"  # {where}" if origin else ""))
    return 0


def _list() -> int:
    from recbole_enhance.experiment.names import list_methods, list_models

    print("methods:")
    for name, about in list_methods():
        print(f"  {name:<8} {about}")
    print("models:")
    for family, names in list_models().items():
        print(f"  {family}: {', '.join(names)}")
    return 0


def _table(result: Mapping[str, Any]) -> str:
    valid, test = result["best_valid_result"], result["test_result"]
    lines = [f"{'metric':<24}{'valid':>10}{'test':>10}"]
    for name, value in test.items():
        both = (valid.get(name), value)
        cells = ("-" if x is None or x != x else f"{x:.4f}" for x in both)  # files have no NaN
        lines.append(f"{name:<24}" + "".join(f"{cell:>10}" for cell in cells))
    if result["run_dir"]:
        lines.append(f"run folder: {result['run_dir']}")
    return "\n".join(lines)
