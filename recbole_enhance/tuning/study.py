"""An Optuna study that several processes and machines share, within one budget of trials.

A trial of the budget is a record of the database: waiting, running, complete, pruned or failed. One
that runs no more because its process ended (killed, Ctrl-C, machine gone) is *lost*: failed without
a reason. It counts for nothing, and its options go back into the queue.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
import psutil
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from recbole_enhance.storage.files import open_file
from recbole_enhance.storage.run_folder import logger
from recbole_enhance.tuning.space import Space, number_of, setting_at, size

HEARTBEAT, GRACE = 30, 300  # seconds; a machine that is gone is noticed after GRACE
_POLL = 0.5
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT
_ATTEMPTS = 5
_CONNECT = {
    "sqlite": {"timeout": 120},
    "postgresql": {"connect_timeout": 10},
    "mysql": {"connect_timeout": 10},
}
_AT_WORK: set[str] = set()  # the studies that this process has open
STARTUP = 10  # trials at random before TPE has enough to learn from
PRUNE_AFTER, PRUNE_FROM_EPOCH = 5, 5  # complete trials; epochs that each trial may have
_WORKER, _DRAW, _AGAIN, REASON, _ABOUT = "worker", "draw", "again", "reason", "about"
_CLAIMED_BY = "claimed by "
REPEATED = "repeated"  # of a trial whose setting had been tried; another one has its place


class SharedStudy:
    """The trials of one study.

    Args:
        url: The database, as Optuna takes it.
        name: The study in it.
        about: What must be the same for everybody who works on it, as JSON values.
        maximize: Whether a larger value is better.
        budget: Trials in total.
        seed: Of the sampler.
        pruner: One of :data:`~recbole_enhance.tuning.settings.PRUNERS`.

    Attributes:
        study: Optuna's own.

    Raises:
        ValueError: If the database does not answer, or the study is about something else.
    """

    def __init__(
        self,
        url: str,
        name: str,
        about: Mapping[str, Any],
        maximize: bool,
        budget: int,
        seed: int,
        pruner: str,
    ) -> None:
        self.budget, self.seed = budget, seed
        self._token = uuid.uuid4().hex[:8]
        _AT_WORK.add(self._token)
        parsed = _parse_url(url)
        self._lock = None
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ValueError(f"storage={url}: a database in memory cannot be resumed or shared")
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            self._lock = Path(f"{parsed.database}.lock")
        with storage_errors(url), _opening(url), self._alone():
            self._storage = _open(url, parsed)
            with _quiet():
                self.study = optuna.create_study(
                    storage=self._storage,
                    study_name=name,
                    load_if_exists=True,
                    direction="maximize" if maximize else "minimize",
                    pruner=_pruner(pruner),
                )
            self._refuse_other(name, dict(about))

    def _refuse_other(self, name: str, about: dict[str, Any]) -> None:
        if _ABOUT not in self.study.user_attrs:
            if self.study.get_trials(deepcopy=False):
                raise ValueError(f"study={name}: was not made by `tune`; name another study")
            self.study.set_user_attr(_ABOUT, about)
        before = self.study.user_attrs[_ABOUT]
        for part in about:
            old, new = before.get(part), about[part]
            if old == new:
                continue
            if isinstance(old, dict) and isinstance(new, dict):
                differing = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
                if not differing:  # an option that the earlier version did not have, and is None
                    continue
                key = differing[0]
                part, old, new = f"{part}: {key}", old.get(key), new.get(key)
            raise ValueError(
                f"study={name}: {part} was {old} and is {new} now; name another --study or --out"
            )

    # ---- trials ----------------------------------------------------------------------------

    def trials(self) -> list[FrozenTrial]:
        """All records, by number."""
        return sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def live(self) -> list[FrozenTrial]:
        """The records that count, by number: all but the lost ones."""
        return [trial for trial in self.trials() if not is_lost(trial)]

    def finished(self) -> int:
        """How many trials of the budget are over."""
        return sum(trial.state.is_finished() for trial in self.live())

    def claim(self) -> optuna.Trial | None:
        """Take a trial of the budget.

        Returns:
            The trial, running; None while none is free (all run elsewhere, or are over).
        """
        with self._alone(), _quiet():
            self._queue_lost_ones()
            while True:
                live = self.live()
                for frozen in live[: self.budget]:
                    if frozen.state == TrialState.WAITING and self._take(frozen):
                        return self._begin(frozen)
                if len(live) >= self.budget:
                    return None
                self.study.enqueue_trial({})

    def _take(self, frozen: FrozenTrial) -> bool:
        # First who may have it, and the heartbeat: if we are killed afterwards, they show that.
        identity = self._identity()
        try:
            key = f"{_CLAIMED_BY}{self._token}"
            self._storage.set_trial_user_attr(frozen._trial_id, key, identity)
            self._storage.record_heartbeat(frozen._trial_id)
            return self._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False

    def _begin(self, frozen: FrozenTrial) -> optuna.Trial:
        """Draw by the trial's place in the study, so that a resumed study is the unstopped one."""
        draw = self._draw(frozen)
        self.study.sampler = optuna.samplers.TPESampler(
            seed=_mix(self.seed, draw), n_startup_trials=STARTUP, constant_liar=True
        )
        trial = optuna.Trial(self.study, frozen._trial_id)
        trial.set_user_attr(_WORKER, self._identity())
        return trial

    def _identity(self) -> str:
        return f"{_machine()}:{os.getpid()}:{_started(os.getpid())}:{self._token}"

    def _draw(self, frozen: FrozenTrial) -> int:
        own = frozen.user_attrs.get(_DRAW)
        if own is not None:
            return int(own)
        earlier = (t for t in self.trials() if t.number < frozen.number)
        return sum(_DRAW not in trial.user_attrs for trial in earlier)

    def _queue_lost_ones(self) -> None:
        optuna.storages.fail_stale_trials(self.study)
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and self._is_dead(trial):
                with contextlib.suppress(UpdateFinishedTrialError):
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        trials = self.trials()
        queued = {trial.user_attrs.get(_AGAIN) for trial in trials}
        for trial in trials:
            if is_lost(trial) and trial.number not in queued:
                attributes = {_AGAIN: trial.number, _DRAW: self._draw(trial)}
                self.study.enqueue_trial(trial.params, user_attrs=attributes)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        """Whether a running trial's process was on this machine and has ended."""
        attributes = trial.user_attrs
        if _WORKER in attributes:
            return self._has_ended(attributes[_WORKER])
        # Killed while claiming, if it was one of these. Where they are several, one of them got it.
        claims = [value for key, value in attributes.items() if key.startswith(_CLAIMED_BY)]
        return bool(claims) and all(map(self._has_ended, claims))

    def _has_ended(self, worker: str) -> bool:
        machine, pid, started, token = worker.split(":")
        if machine != _machine():
            return False  # its heartbeat tells
        if int(pid) == os.getpid() and _started(os.getpid()) == started:
            return token not in _AT_WORK
        return _started(int(pid)) != started

    def tell(self, trial: optuna.Trial, value: float | None = None, reason: str = "") -> None:
        """Report a trial: complete with its value, failed with its reason, else pruned."""
        try:
            if reason:
                trial.set_user_attr(REASON, reason)
            state = TrialState.COMPLETE if value is not None else TrialState.PRUNED
            self.study.tell(trial, value, TrialState.FAIL if reason else state)
        except (UpdateFinishedTrialError, ValueError):
            logger.warning(
                "trial %d had been marked as lost, so its result is dropped", trial.number
            )

    def lose(self, trial: optuna.Trial) -> None:
        """Give a trial back that was interrupted."""
        with contextlib.suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    def twin(self, trial: optuna.Trial) -> FrozenTrial | None:
        """A trial of the same options that was completed or has failed, and so would this one."""
        over = (t for t in self.live() if t.state in (TrialState.COMPLETE, TrialState.FAIL))
        return next((other for other in over if other.params == trial.params), None)

    def replaced(self, trial: optuna.Trial, space: Space) -> bool:
        """Give the trial's place to a setting that was not tried, where this one was.

        Args:
            trial: With its options drawn.
            space: A finite space in which some setting was not tried yet.

        Returns:
            Whether it was replaced; False where its setting is the first of its kind.
        """
        with self._alone(), _quiet():
            earlier = [t for t in self.live() if t.number < trial.number or t.state.is_finished()]
            queued = [t for t in self.live() if t.state == TrialState.WAITING]
            known = [t.params for t in earlier if t.number != trial.number]
            known += [t.system_attrs.get("fixed_params", {}) for t in queued]
            tried = sorted({number_of(space, p) for p in known if set(p) == set(space)})
            if number_of(space, trial.params) not in tried or len(tried) >= size(space):
                return False
            frozen = next(t for t in self.trials() if t.number == trial.number)
            draw = self._draw(frozen)
            number = _mix(self.seed, draw) % (int(size(space)) - len(tried))
            for other in tried:  # the number of the number-th that is not among them
                number += other <= number
            trial.set_user_attr(REPEATED, True)
            attributes = {_AGAIN: trial.number, _DRAW: draw}
            self.study.enqueue_trial(setting_at(space, number), user_attrs=attributes)
            self.lose(trial)
            return True

    @contextlib.contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Send the trial's heartbeats while the block runs."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(HEARTBEAT):
                with contextlib.suppress(Exception):  # the next one may come through
                    self._storage.record_heartbeat(trial._trial_id)
            self._storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def close(self) -> None:
        """Let go of the database."""
        _AT_WORK.discard(self._token)
        self._storage.remove_session()
        self._storage.engine.dispose()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from claiming: SQLite lets two of them take one trial.

        Servers lock the row; for them this does nothing.
        """
        if self._lock is None:
            yield
            return
        with open(open_file(self._lock, _APPEND), "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def is_lost(trial: FrozenTrial) -> bool:
    """Whether the trial's process ended before the trial did."""
    return trial.state == TrialState.FAIL and REASON not in trial.user_attrs


@contextlib.contextmanager
def storage_errors(url: str) -> Iterator[None]:
    """Report in one line that a database fails."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.OptunaError) else error
        why = str(getattr(cause, "orig", None) or cause or error).strip().splitlines() or [""]
        raise ValueError(f"storage={shown(url)}: does not answer: {why[0]}") from error


@contextlib.contextmanager
def _opening(url: str) -> Iterator[None]:
    """The same for what comes before the first answer: a missing driver, an unwritable folder."""
    try:
        yield
    except (ImportError, RuntimeError, OSError) as error:
        raise ValueError(f"storage={shown(url)}: {error}") from error


def shown(url: str) -> str:
    """A database's address without its password."""
    return _parse_url(url).render_as_string(hide_password=True)


def _parse_url(url: str) -> sqlalchemy.engine.URL:
    try:
        return sqlalchemy.engine.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise ValueError(
            "storage: an address as sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE "
            "is expected"
        ) from error


def _open(url: str, parsed: sqlalchemy.engine.URL) -> RDBStorage:
    connect = _CONNECT.get(parsed.get_backend_name(), {})
    connect = {key: value for key, value in connect.items() if key not in parsed.query}
    attempts = _ATTEMPTS
    while True:
        try:
            with _quiet():
                return RDBStorage(
                    url,
                    engine_kwargs={"connect_args": connect},
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                )
        except sqlalchemy.exc.DBAPIError as error:
            # Another process made the same table at the same moment; next time it is there.
            raced = re.search("already exists|duplicate", str(error.orig), re.I)
            attempts -= 1
            if not raced or not attempts:
                raise
        wait()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what is experimental in it; we test what we use of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _pruner(name: str) -> optuna.pruners.BasePruner:
    if name == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(PRUNE_AFTER, PRUNE_FROM_EPOCH)


def _mix(seed: int, draw: int) -> int:
    return int(hashlib.sha256(f"{seed} {draw}".encode()).hexdigest()[:8], 16)


def _started(pid: int) -> str:
    """When a process of this machine started, or nothing if there is none."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        if psutil.LINUX:  # ticks since boot; psutil's seconds move when the clock is set
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return str(process.create_time())
    except (psutil.Error, OSError):
        return ""


def _machine() -> str:
    """Identifies this machine and container, within which process ids are comparable."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # Linux has both
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def wait() -> None:
    """Wait a moment for other processes."""
    time.sleep(_POLL)
