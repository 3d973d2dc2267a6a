"""Search the options of a model or a method by validation: the verb ``tune``."""

import contextlib
import dataclasses
import logging
import math
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import torch
from recbole.utils import ModelType
from tqdm import tqdm

from recbole_enhance.config import Config
from recbole_enhance.data import atomic
from recbole_enhance.options import parse_argv, parse_flag, parse_value
from recbole_enhance.quick_start import validate
from recbole_enhance.run_folder import VOLATILE, logger, plain
from recbole_enhance.tuning import space as spaces

STUDY = "study.db"
_PATIENCE = 5  # seconds
_PRUNERS = ("median", "none")
_FORBIDDEN = {"run_dir": "trials leave no run folder; --out names where the study's files go"}


def main(words: Sequence[str]) -> int:
    """Tune from the command line.

    Args:
        words: Options, see ``recbole-enhance --help``.

    Raises:
        ValueError: As :func:`tune`.
    """
    options: Dict[str, Any] = dict(parse_argv(words))
    quiet = parse_flag("quiet", options.pop("quiet", "false"))
    own = {key: options.pop(key) for key in ("space", "storage", "study", "pruner")
           if key in options}  # fmt: skip
    trials, jobs = (_whole(options, key, default) for key, default in (("trials", 20), ("jobs", 1)))
    out = options.pop("out", None)
    if any(":" in str(options.get(key, "")) for key in ("model", "backbone")):
        sys.path.insert(0, os.getcwd())  # a class of the user's, as with python -m
    if out is None:
        config = _config(options)
        out = Path("tuning", config["dataset"], config["label"])
    tune(options, Path(out), trials, jobs=jobs, quiet=quiet, **own)
    return 0


def _whole(options: Dict[str, Any], key: str, default: int) -> Any:
    return parse_value(key, options.pop(key)) if key in options else default


def tune(
    options: Mapping[str, Any],
    out: Union[str, Path],
    trials: int,
    space: Union[Mapping[str, Any], str, Path, None] = None,
    storage: Optional[str] = None,
    study: Optional[str] = None,
    jobs: int = 1,
    pruner: str = "median",
    quiet: bool = False,
) -> Dict[str, Any]:
    """Search options by their validation score; the test data are not evaluated.

    Called again, it goes on until there are ``trials`` in total. Any number of processes and
    machines may call it with one ``storage`` and one ``study`` at the same time.

    Args:
        options: Those of a run: ``model``, ``dataset`` and others; ``config_files`` names files.
            What is given here or there is not searched.
        out: Folder for ``study.db``, ``trials.csv``, ``tuning.json``, ``best.yaml``.
        trials: How many, in total; failed and pruned ones count, interrupted ones do not.
        space: Mapping or file, see ``docs/tuning.md``; None takes the space that ships with us.
        storage: Database, as Optuna takes it; None is ``study.db`` in ``out``.
        study: Name in the database; None is label and dataset.
        jobs: Processes.
        pruner: ``median`` stops a trial that is worse than the median of the others at the same
            epoch; ``none`` trains all of them to their end.
        quiet: Show no progress and no table.

    Returns:
        The searched options of the best trial.

    Raises:
        ValueError: If options, space or storage say no, or no trial was completed.
    """
    plan, about = _plan(options, Path(out), trials, space, storage, study, jobs, pruner)
    with _hushed():
        return _search(plan, about, jobs, quiet)


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that a process needs to work on a study.

    Attributes:
        options: Of the run, without ``config_files``.
        files: YAML files of options.
        space: What is searched.
        out: Folder of the study's files.
        url: The database.
        study: The study's name.
        about: What must be the same for all who work on it.
        maximize: Whether a larger value is better.
        budget: Trials in total.
        seed: Of the sampler, and of each run.
        pruner: See :func:`tune`.
    """

    options: Dict[str, Any]
    files: List[str]
    space: spaces.Space
    out: Path
    url: str
    study: str
    about: Dict[str, Any]
    maximize: bool
    budget: int
    seed: int
    pruner: str

    def open(self) -> Any:
        """Connect to the study."""
        from recbole_enhance.tuning.study import SharedStudy

        return SharedStudy(self.url, self.study, self.about, self.maximize, self.budget, self.seed,
                           self.pruner)  # fmt: skip


def _plan(
    options: Mapping[str, Any], out: Path, trials: int, space: Any, storage: Optional[str],
    study: Optional[str], jobs: int, pruner: str,
) -> Tuple[Plan, Dict[str, Any]]:  # fmt: skip
    """Check everything that needs no database; the second is what the report tells of it."""
    _refuse_bad_arguments(options, out, trials, jobs, pruner)
    optuna = _optuna()
    config = _config(options)
    searched = _space(config, options, space)
    files, rest = _files(options)
    maximize = bool(config["valid_metric_bigger"])
    name = study or f"{config['label']}-{config['dataset']}"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out={out}: cannot be made ({error.strerror})") from error
    plan = Plan(
        rest, files, searched, out, storage or f"sqlite:///{out.resolve() / STUDY}", name,
        _about(config, searched, pruner), maximize,
        int(min(trials, spaces.size(searched))), config["seed"], pruner,
    )  # fmt: skip
    from recbole_enhance.tuning import study as engine

    told = {
        "names": _names(config),
        "label": config["label"],
        "metric": config["valid_metric"],
        "direction": "maximize" if maximize else "minimize",
        "space": spaces.plain(searched),
        "engine": f"optuna {optuna.__version__}",
        "sampler": f"TPE, the first {engine.STARTUP} trials at random",
        "pruner": f"median, after {engine.PRUNE_AFTER} trials and {engine.PRUNE_FROM_EPOCH} epochs"
        if pruner == "median" else pruner,
        "seed": config["seed"],
        "storage": engine.shown(plan.url),
        "study": name,
    }  # fmt: skip
    return plan, told


def _refuse_bad_arguments(
    options: Mapping[str, Any], out: Path, trials: int, jobs: int, pruner: str
) -> None:
    for key, value in (("trials", trials), ("jobs", jobs)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{key}={value}: a whole number above 0 is expected")
    if pruner not in _PRUNERS:
        raise ValueError(f"pruner={pruner}: one of {', '.join(_PRUNERS)}")
    for key, why in _FORBIDDEN.items():
        if options.get(key) is not None:
            raise ValueError(f"{key}={options[key]}: {why}")
    if "?" in str(out.resolve()):  # ends the path in a database's address
        raise ValueError(f"out={out}: a folder without ? in its path is expected")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise ValueError("tune: needs pip install 'recbole_enhance[tune]'") from None
    return optuna


def _files(options: Mapping[str, Any]) -> Tuple[List[str], Dict[str, Any]]:
    rest = dict(options)
    files = rest.pop("config_files", None) or []
    if isinstance(files, str):
        files = files.replace(",", " ").split()
    return [str(name) for name in files], rest


def _config(options: Mapping[str, Any], changed: Optional[Mapping[str, Any]] = None) -> Config:
    files, rest = _files(options)
    silent = {"quiet": True, "show_progress": False}
    return Config(config_file_list=files, config_dict={**rest, **(changed or {}), **silent})


def _space(config: Config, options: Mapping[str, Any], given: Any) -> spaces.Space:
    """What is searched: without what the user has fixed, and each value of it allowed."""
    said = set(_leaves(config.external_config_dict))
    if given is not None:
        space, where = spaces.read(given), "space" if isinstance(given, Mapping) else str(given)
        both = sorted(said & set(space))
        if both:
            raise ValueError(f"{where}: {both[0]}: is an option of the run too; name it once")
    else:
        trained = config["MODEL_TYPE"] != ModelType.TRADITIONAL
        space = spaces.packaged(config["backbone"], config["enhancer"], trained)
        where = f"properties/tune of {config['label']}"
        for name in sorted(said & set(space)):
            logger.info("%s is given, and not searched", name)
            del space[name]
    spaces.refuse_bad_options(space, lambda changed: _config(options, changed), where)
    if not space:
        logger.info("%s: nothing to search, one trial", config["label"])
    return space


def _leaves(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Options as they are named, the whole and with dots its parts."""
    for key, value in options.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")


def _about(config: Config, space: spaces.Space, pruner: str) -> Dict[str, Any]:
    """What two calls must agree on to share a study."""
    ignored = {*VOLATILE, *space} - {"seed"}
    options = {key: value for key, value in config.options.items() if key not in ignored}
    read = atomic.suffixes(config["load_col"], config["benchmark_filename"])
    hashes = atomic.sha256(Path(config["data_path"]), config["dataset"], read)
    about = {"space": spaces.plain(space), "options": options, "data": hashes, "pruner": pruner}
    return plain(about)


def _names(config: Config) -> Dict[str, Any]:
    """Model, backbone and dataset for ``best.yaml``; files name no code of the user's."""
    keys = ("model", "backbone", "dataset", "variant") if config["enhancer"] else (
        "model", "dataset", "variant")  # fmt: skip
    names = {key: config.options[key] for key in keys}
    return {key: v for key, v in names.items() if v is not None and ":" not in str(v)}


# ---- trials --------------------------------------------------------------------------------


def _search(plan: Plan, about: Dict[str, Any], jobs: int, quiet: bool) -> Dict[str, Any]:
    from recbole_enhance.tuning import report
    from recbole_enhance.tuning.study import storage_errors

    study = plan.open()
    try:
        with storage_errors(plan.url):
            with _bar(study, plan, about, quiet) as show:
                if jobs > 1:
                    _work_in_processes(plan, study, jobs, show)
                else:
                    _work(plan, study, show)
            report.write(plan.out, study, plan.space, about)
            trials = study.trials()
            best = report.best_trial(trials, plan.maximize)
            if best is None:
                reasons = [t.user_attrs["reason"] for t in trials if "reason" in t.user_attrs]
                raise ValueError(f"tune: none of {plan.budget} trials was completed; the last "
                                 f"failed: {(reasons or ['unknown'])[-1]}")  # fmt: skip
            report.write_page(plan.out, study)
            if not quiet:
                print(report.table(study, plan.space, about))
                print(f"best options: {plan.out / report.BEST}")
            return report.options_of(best, plan.space)
    finally:
        study.close()


@contextlib.contextmanager
def _bar(
    study: Any, plan: Plan, about: Dict[str, Any], quiet: bool
) -> Iterator[Callable[[], None]]:
    """A progress bar over trials; the function brings it, and the files, up to date."""
    from recbole_enhance.tuning import report

    with tqdm(
        total=plan.budget, initial=min(study.finished(), plan.budget), unit="trial",
        desc=f"tune {about['label']}", disable=True if quiet else None, dynamic_ncols=True,
    ) as bar:  # fmt: skip
        before = -1

        def show() -> None:
            nonlocal before
            finished = study.finished()
            if finished == before:
                return
            before = finished
            report.write(plan.out, study, plan.space, about)
            best = report.best_trial(study.trials(), plan.maximize)
            if best is not None:
                bar.set_postfix_str(f"best {about['metric']} {best.value:.4f}", refresh=False)
            bar.n = min(finished, plan.budget)
            bar.refresh()

        show()
        yield show


def _work(
    plan: Plan, study: Any, show: Callable[[], None], parent: Optional[int] = None
) -> None:
    """Run trials until none of the budget is left, here or elsewhere."""
    from recbole_enhance.tuning.study import wait

    while True:
        trial = study.claim()
        if trial is None:
            if study.finished() >= plan.budget:
                return
            wait()  # for others: what they lose is ours to do
        else:
            _run(plan, study, trial, parent)
        show()


def _run(plan: Plan, study: Any, trial: Any, parent: Optional[int]) -> None:
    """Run one trial, and report it whatever happens."""
    import optuna

    def end_of_epoch(epoch: int, score: float) -> None:
        if parent is not None and os.getppid() != parent:
            raise KeyboardInterrupt  # the process that was asked for this study is gone
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        changed = {name: parameter.suggest(trial) for name, parameter in plan.space.items()}
        twin = study.twin(trial)
        if twin is not None:  # the same options and seed give the same score
            study.tell(trial, twin.value)
            return
        with study.alive(trial):
            config = _config({**plan.options, "config_files": plan.files}, changed)
            score = validate(config, end_of_epoch)["best_valid_score"]
        if not math.isfinite(score):
            raise ValueError(f"the validation score is {score}")
        study.tell(trial, score)
    except optuna.TrialPruned:
        study.tell(trial)
    except optuna.exceptions.UpdateFinishedTrialError:
        logger.warning("trial %d was taken for lost: its result is dropped", trial.number)
    except optuna.exceptions.StorageInternalError:  # no fault of the trial's
        raise
    except Exception as error:  # whatever a training dies of is the trial's result
        reason = " ".join(f"{_kind(error)}{error}".split())[:500]
        logger.warning("trial %d failed: %s", trial.number, reason)
        study.tell(trial, reason=reason)
    except BaseException:
        study.lose(trial)
        raise


def _kind(error: Exception) -> str:
    return "" if isinstance(error, ValueError) else f"{type(error).__name__}: "


def _work_in_processes(plan: Plan, study: Any, jobs: int, show: Callable[[], None]) -> None:
    """Let several processes work on the study, with a share of the cores each."""
    from recbole_enhance.tuning.study import wait

    context = multiprocessing.get_context("spawn")
    threads = max(1, torch.get_num_threads() // jobs)
    workers: List[Any] = [
        context.Process(target=_child, args=(plan, threads, os.getpid()))
        for _ in range(min(jobs, plan.budget))
    ]
    try:
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            wait()
            show()
    finally:
        for worker in workers:  # a Ctrl-C reaches them too, and they give their trials back
            worker.join(_PATIENCE)
            if worker.is_alive():
                worker.terminate()
                worker.join()
    failed = [worker.exitcode for worker in workers if worker.exitcode]
    if failed and study.finished() < plan.budget:
        raise ValueError(f"jobs={jobs}: a process ended with status {failed[0]}; run it again")


def _child(plan: Plan, threads: int, parent: int) -> None:
    from recbole_enhance.tuning.study import storage_errors

    torch.set_num_threads(threads)
    with _hushed(), contextlib.suppress(KeyboardInterrupt):
        try:
            with storage_errors(plan.url):
                _work(plan, plan.open(), lambda: None, parent)
        except ValueError as error:
            logger.error("%s", error)
            sys.exit(1)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Trials say nothing but warnings, and Optuna too."""
    import optuna

    loud = optuna.logging.get_verbosity()
    level = logger.level
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
        optuna.logging.set_verbosity(loud)
