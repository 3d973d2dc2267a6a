"""Search for the best options of a model or a method by validation."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from recbole.utils import ModelType
from tqdm import tqdm

from recbole_enhance.compat.needs import line_for
from recbole_enhance.experiment.config import Config
from recbole_enhance.experiment.quick_start import data_hashes
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.options.limits import MOST, MOST_PROCESSES, checked_count
from recbole_enhance.options.read import split_files
from recbole_enhance.storage.files import is_file
from recbole_enhance.storage.outputs import make_output_folder
from recbole_enhance.storage.run_folder import VOLATILE, logger, missing_folders, plain
from recbole_enhance.tuning import space as spaces
from recbole_enhance.tuning.settings import PRUNERS, make_config

if TYPE_CHECKING:  # Optuna is an extra
    from recbole_enhance.tuning.study import SharedStudy
    from recbole_enhance.tuning.workers import Plan

STUDY = "study.db"
_FORBIDDEN = {"run_dir": "trials leave no run folder; --out names where the study's files go"}


def tune(
    options: Mapping[str, Any],
    out: str | Path | None,
    trials: int,
    space: Mapping[str, Any] | str | Path | None = None,
    storage: str | None = None,
    study: str | None = None,
    jobs: int = 1,
    pruner: str = "median",
    quiet: bool = False,
    page: bool = False,
) -> dict[str, Any]:
    """Search for the best options by validation score; the test data are not evaluated.

    A second call continues until there are ``trials`` in total. Any number of processes and
    machines may call it at the same time with the same ``storage`` and ``study``.

    Args:
        options: Options of a run: ``model``, ``dataset`` and others; ``config_files`` names files.
            Options that are given here or in these files are not searched, unless ``space`` is
            given: it has priority over the files, as in RecBole.
        out: Folder for ``study.db``, ``trials.csv``, ``tuning.json`` and ``best.yaml``; None is
            ``tuning/DATASET/LABEL``.
        trials: Number of trials in total; failed and pruned ones count, interrupted ones do not.
        space: Mapping or file, see ``docs/tuning.md``; None takes the space of this package.
        storage: Address of a database, as Optuna takes it; None is ``study.db`` in ``out``.
        study: Name in the database; None is made from label and dataset.
        jobs: Number of processes.
        pruner: ``median`` stops a trial that is worse than the median of the others at the same
            epoch; ``none`` trains all trials to the end.
        quiet: Show no progress and no table.
        page: Also write plots of the study, as ``tuning.html``.

    Returns:
        The searched options of the best trial.

    Raises:
        InputError: If options, space or storage are refused, or no trial was completed.
    """
    config, searched = check_plan(options, trials, space, storage, jobs, pruner)
    from recbole_enhance.tuning import workers

    out = Path("tuning", config["dataset"], config["label"]) if out is None else Path(out)
    if "?" in str(out.resolve()):  # ends the path in a database's address
        raise OptionError("out", out, "a folder without ? in its path is expected")
    if config.method is not None and config.method.in_search is not None:
        of_method = config.method.in_search(config)
        options = {**options, **{k: v for k, v in of_method.items() if k not in searched}}
        config = make_config(options)
    made = missing_folders(out)
    make_output_folder("out", out)
    files, rest = split_files(options)
    plan = workers.Plan(
        options=rest,
        files=files,
        space=searched,
        out=out,
        url=storage or _beside(out),
        study=study or f"{config['label']}-{config['dataset']}",
        about=_about(config, searched, pruner),
        maximize=bool(config["valid_metric_bigger"]),
        budget=int(min(trials, spaces.size(searched))),
        seed=config["seed"],
        pruner=pruner,
    )
    try:
        with workers.hushed():
            return _search(plan, _facts(config, plan), jobs, quiet, page)
    finally:
        for folder in made:  # if the database did not answer, leave nothing behind
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()


def check_plan(
    options: Mapping[str, Any],
    trials: int,
    space: Mapping[str, Any] | str | Path | None = None,
    storage: str | None = None,
    jobs: int = 1,
    pruner: str = "median",
) -> tuple[Config, spaces.Space]:
    """Refuse what no study could begin with. Nothing is written and no database is asked.

    Arguments are those of :func:`tune`.

    Returns:
        The settings of the run, and what is searched.

    Raises:
        InputError: If options, space or storage are refused.
    """
    _refuse_bad_arguments(options, trials, jobs, pruner)
    _refuse_missing_optuna()
    if storage is not None:
        from recbole_enhance.tuning.study import shown

        shown(storage)
    config = make_config(options)
    _refuse_no_validation(config)
    return config, _space(config, options, space)


def _refuse_no_validation(config: Config) -> None:
    """Refuse a split without validation data, before a study of failed trials is made."""
    split = config["eval_args"]["split"]
    ratios = split.get("RS") or split.get("TS") or [1, 1, 1]
    if (len(ratios) == 3 and ratios[1] == 0) or split.get("LS") == "test_only":
        raise OptionError(
            "eval_args.split",
            split,
            "there are no validation data, which tune needs to choose a setting",
        )


def _refuse_bad_arguments(options: Mapping[str, Any], trials: int, jobs: int, pruner: str) -> None:
    checked_count("trials", trials, MOST)
    checked_count("jobs", jobs, MOST_PROCESSES)
    if pruner not in PRUNERS:
        raise OptionError("pruner", pruner, f"one of {', '.join(PRUNERS)}")
    for key, why in _FORBIDDEN.items():
        if options.get(key) is not None:
            raise OptionError(key, options[key], why)


def _beside(out: Path) -> str:
    """Address of the study in a folder; an address is percent-decoded when it is opened."""
    is_file(out / STUDY)  # SQLite would follow a link
    return f"sqlite:///{quote(str(out.resolve() / STUDY))}"


def _refuse_missing_optuna() -> None:
    try:
        import optuna  # noqa: F401
        from optuna.exceptions import UpdateFinishedTrialError  # noqa: F401  not in 4.2
    except ImportError:
        raise InputError(f"tune: needs optuna 4.9 or newer: {line_for('tune')}") from None


def _space(config: Config, options: Mapping[str, Any], given: Any) -> spaces.Space:
    """The space, without options that the user has fixed; each of its values is allowed."""
    said = set(_leaves(config.external_config_dict))
    if given is not None:
        space = spaces.read(given)
        where = "search space" if isinstance(given, Mapping) else f"search space {given}"
        for name in sorted(said & set(space)):
            origin = config.origins.get(name)
            if origin not in split_files(options)[0]:
                raise ValueError(
                    f"{where}: {name}: is also given as an option of the run; give it only once"
                )
            logger.info("%s is searched, so its value in %s is not used", name, origin)
    else:
        trained = config["MODEL_TYPE"] != ModelType.TRADITIONAL
        space = spaces.packaged(config["backbone"], config["enhancer"], trained)
        where = f"properties/tune of {config['label']}"
        for name in sorted(said & set(space)):
            logger.info("%s has a given value, so it is not searched", name)
            del space[name]
    spaces.refuse_bad_options(space, lambda changed: make_config(options, changed), where)
    if not space:
        logger.info("%s: there is nothing to search, so there is one trial", config["label"])
    return space


def _leaves(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Names of options: of mappings, the mapping itself and its entries with dots."""
    for key, value in options.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")


def _about(config: Config, space: spaces.Space, pruner: str) -> dict[str, Any]:
    """What two calls must agree on to share a study."""
    ignored = {*VOLATILE, *space} - {"seed"}
    options = {key: value for key, value in config.options.items() if key not in ignored}
    about = {
        "space": spaces.plain(space),
        "options": options,
        "data": data_hashes(config),
        "pruner": pruner,
    }
    return plain(about)


def _names(config: Config) -> dict[str, Any]:
    """Model, backbone and dataset for ``best.yaml``; files never name the user's code."""
    keys = (
        ("model", "backbone", "dataset", "variant")
        if config["enhancer"]
        else ("model", "dataset", "variant")
    )
    names = {key: config.options[key] for key in keys}
    return {key: v for key, v in names.items() if v is not None and ":" not in str(v)}


def _facts(config: Config, plan: "Plan") -> dict[str, Any]:
    """What the report contains besides the trials."""
    import optuna

    from recbole_enhance.tuning import study as engine

    median = f"median, after {engine.PRUNE_AFTER} trials and {engine.PRUNE_FROM_EPOCH} epochs"
    return {
        "names": _names(config),
        "label": config["label"],
        "metric": config["valid_metric"],
        "direction": "maximize" if plan.maximize else "minimize",
        "space": spaces.plain(plan.space),
        "engine": f"optuna {optuna.__version__}",
        "sampler": f"TPE, the first {engine.STARTUP} trials at random",
        "pruner": median if plan.pruner == "median" else plan.pruner,
        "seed": plan.seed,
        # Without the machine's own folders, where it stands beside this report.
        "storage": STUDY if plan.url == _beside(plan.out) else engine.shown(plan.url),
        "study": plan.study,
    }


def _search(
    plan: "Plan", facts: Mapping[str, Any], jobs: int, quiet: bool, page: bool
) -> dict[str, Any]:
    """Work until the study has its trials, and report it."""
    from recbole_enhance.tuning import report, workers
    from recbole_enhance.tuning.study import REASON, storage_errors

    study = plan.open()
    try:
        with storage_errors(plan.url):
            with _bar(study, plan, facts, quiet) as show:
                if jobs > 1:
                    workers.work_in_processes(plan, study, jobs, show)
                else:
                    workers.work(plan, study, show)
            report.write(plan.out, study, plan.space, facts)
            trials = study.trials()
            best = report.best_trial(trials, plan.maximize)
            if best is None:
                reasons = [t.user_attrs[REASON] for t in trials if REASON in t.user_attrs]
                raise InputError(
                    f"tune: none of {plan.budget} trials was completed; the last "
                    f"failed: {(reasons or ['unknown'])[-1]}"
                )
            if page:
                report.write_page(plan.out, study, facts["metric"])
            if not quiet:
                print(report.table(study, plan.space, facts))
                print(f"best options: {plan.out / report.BEST}")
            return report.options_of(best, plan.space)
    finally:
        study.close()


@contextlib.contextmanager
def _bar(
    study: "SharedStudy", plan: "Plan", facts: Mapping[str, Any], quiet: bool
) -> Iterator[Callable[[], None]]:
    """A progress bar over trials; the function brings it, and the files, up to date."""
    from recbole_enhance.tuning import report

    with tqdm(
        total=plan.budget,
        initial=min(study.finished(), plan.budget),
        unit="trial",
        desc=f"tune {facts['label']}",
        disable=True if quiet else None,
        dynamic_ncols=True,
    ) as bar:
        before = -1

        def show() -> None:
            nonlocal before
            finished = study.finished()
            if finished == before:
                return
            before = finished
            report.write(plan.out, study, plan.space, facts)
            best = report.best_trial(study.trials(), plan.maximize)
            if best is not None:
                bar.set_postfix_str(f"best {facts['metric']} {best.value:.4f}", refresh=False)
            bar.n = min(finished, plan.budget)
            bar.refresh()

        show()
        yield show
