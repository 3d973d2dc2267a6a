import copy
import functools
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from recbole_enhance.compat.baselines import pop_and_random
from recbole_enhance.compat.files import pretrained_checkpoint, weights_only_files
from recbole_enhance.compat.needs import RECBOLE_VERSION
from recbole_enhance.compat.sampler import popularity_of_training
from recbole_enhance.options.errors import InputError

PANDAS_BELOW = 3

# What RecBole's source calls numpy's types, and what they are today. `float_`, `complex_` and
# `unicode_` are read only by RecBole's own Config.
_NUMPY_ALIASES = {
    "bool": np.bool_,
    "int": np.int_,
    "float": np.float64,
    "complex": np.complex128,
    "object": np.object_,
    "str": np.str_,
    "long": np.int_,
    "unicode": np.str_,
    "float_": np.float64,
    "complex_": np.complex128,
    "unicode_": np.str_,
}

# Warnings about RecBole's source that its users can do nothing about: category, message, module.
_KNOWN_WARNINGS: tuple[tuple[type, str, str], ...] = (
    (
        FutureWarning,  # dataset.py:501,648,650
        r"A value is trying to be set on a copy of a DataFrame or Series through chained",
        r"recbole\.data\.",
    ),
    (
        FutureWarning,  # dataset.py:712,792,809,1217
        r"using <built-in function len> in Series\.agg cannot aggregate",
        r"recbole\.data\.",
    ),
    (
        UserWarning,  # each graph model: torch.sparse.FloatTensor(i, data, shape)
        r"torch\.sparse\.SparseTensor\(indices, values",
        r"recbole\.model\.",
    ),
    (
        UserWarning,  # dmf.py:214
        r"Creating a tensor from a list of numpy\.ndarrays is extremely slow",
        r"recbole\.model\.general_recommender\.dmf$",
    ),
    (
        RuntimeWarning,  # kgin.py:331, mcclk.py:400: nodes without a link, set to 0 a line later
        r"divide by zero encountered in power",
        r"recbole\.model\.knowledge_aware_recommender\.",
    ),
)

# Models that import something RecBole does not install: model -> (module, pip package) pairs.
# The package exlib_recommender imports both of its models, so each needs both libraries.
# "X with Y": the model X runs without it as long as its default for Y is kept.
_DECISION_TREES = (("lightgbm", "lightgbm"), ("xgboost", "xgboost"))
_OPTIONAL_PACKAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "KGAT": (("dgl", "dgl"),),
    "KGIN": (("torch_scatter", "torch-scatter"),),
    "LDiffRec with n_cate > 1": (("kmeans_pytorch", "kmeans-pytorch"),),
    "LightGBM": _DECISION_TREES,
    "MCCLK": (("torch_scatter", "torch-scatter"),),
    "NCL": (("faiss", "faiss-cpu"),),
    "NNCF with louvain": (("networkx", "networkx"), ("community", "python-louvain")),
    "XGBoost": _DECISION_TREES,
}

_made: set[str] = set()  # names of the mends made in this process


@dataclass(frozen=True)
class Mend:
    """One repair of RecBole.

    Attributes:
        name: The function of this module that makes it.
        symptom: What happens without it.
        applied: Whether this process made it; False where the installed versions need none.
    """

    name: str
    symptom: str
    applied: bool


class NullWriter:
    """A TensorBoard writer that writes nothing."""

    def add_scalar(self, *args: Any, **kwargs: Any) -> None:
        """Drop one value."""

    def add_hparams(self, *args: Any, **kwargs: Any) -> None:
        """Drop a table of hyper-parameters."""

    def close(self) -> None:
        """Close nothing."""


def apply() -> list[Mend]:
    """Make RecBole 1.2.1 run, and compute what it means to, on the installed packages.

    Safe to call any number of times: a mend that is there already is left alone.

    Returns:
        One record for each mend, in the order they were made.

    Raises:
        ValueError: If RecBole or pandas has a version that cannot be mended.
    """
    check_versions()
    records = []
    for mend, symptom in _MENDS:
        if mend():
            _made.add(mend.__name__)
        records.append(Mend(mend.__name__, symptom, mend.__name__ in _made))
    return records


def check_versions() -> None:
    """Refuse versions under which RecBole would fail, or give wrong data without a word.

    pandas 3 makes the chained ``fillna(inplace=True)`` of ``data/dataset/dataset.py:501,648,650``
    do nothing, so missing values reach the model.

    Raises:
        InputError: Naming the version found and the one allowed.
    """
    import pandas as pd
    import recbole

    if recbole.__version__ != RECBOLE_VERSION:
        raise InputError(
            f"recbole {recbole.__version__} is installed, but recbole_enhance needs exactly "
            f"{RECBOLE_VERSION}: pip install --no-deps recbole=={RECBOLE_VERSION}"
        )
    if _major(pd.__version__) >= PANDAS_BELOW:
        raise InputError(
            f"pandas {pd.__version__} is installed, but RecBole {RECBOLE_VERSION} silently keeps "
            f'missing values with it; allowed is pandas<{PANDAS_BELOW}: pip install "pandas<3"'
        )


def missing_packages(model: str | None = None) -> dict[str, tuple[str, ...]]:
    """List the RecBole models that cannot run here because a package is not installed.

    Args:
        model: Look at this model only; None for all, and for options that need a package.

    Returns:
        The pip packages that each such model lacks. Empty if nothing is missing.
    """
    models = _OPTIONAL_PACKAGES if model is None else {model: _OPTIONAL_PACKAGES.get(model, ())}
    lacking = {
        name: tuple(pip for module, pip in needs if importlib.util.find_spec(module) is None)
        for name, needs in models.items()
    }
    return {name: packages for name, packages in lacking.items() if packages}


def numpy_aliases() -> bool:
    """Give numpy back the names that RecBole's source uses.

    numpy 1.24 removed ``np.float``, ``np.long``, ``np.str`` ... (``evaluator/metrics.py:90``,
    ``model/layers.py:932``, ``data/interaction.py:31``); numpy 2.0 removed ``np.float_``,
    ``np.complex_`` and ``np.unicode_``, from which ``config/configurator.py:628-635`` restores the
    former, so that no ``Config`` can be built: AttributeError. A name that numpy has is kept.

    Returns:
        Whether anything was missing.
    """
    # Not hasattr: numpy answers that with a FutureWarning for some of these names.
    missing = {name: kind for name, kind in _NUMPY_ALIASES.items() if name not in vars(np)}
    for name, kind in missing.items():
        setattr(np, name, kind)
    return bool(missing)


def dok_matrix_update() -> bool:
    """Give scipy's ``dok_matrix`` back the private method that fills it from a dict.

    scipy 1.13 removed ``_update``, and the public ``update`` refuses to work: AttributeError in
    LightGCN (``lightgcn.py:111``), NGCF, NCL, SpectralCF, GCMC, KGIN and MCCLK.

    Returns:
        Whether it was missing.
    """
    from scipy.sparse import dok_matrix

    if hasattr(dok_matrix, "_update"):
        return False

    def _update(self: Any, data: dict[tuple[int, int], float]) -> None:
        self._dict.update(data)

    dok_matrix._update = _update
    return True


def collector_struct() -> bool:
    """Let RecBole's Collector hand over values that are not tensors.

    ``evaluator/collector.py:226`` calls ``.cpu()`` on the number of items and on the item counter:
    AttributeError for ItemCoverage, GiniIndex, AveragePopularity and TailPercentage, with every
    version of every package.

    Returns:
        Whether the Collector was broken.
    """
    from recbole.evaluator.collector import Collector, DataStruct

    probe = object.__new__(Collector)
    probe.data_struct = DataStruct()
    probe.data_struct.set("data.num_items", 1)
    try:
        probe.get_data_struct()
    except AttributeError:
        Collector.get_data_struct = _get_data_struct
        return True
    return False


def knowledge_loader_dataset() -> bool:
    """Give the training loader of the knowledge-aware models its ``dataset``.

    ``evaluator/collector.py:88`` reads it for the same four metrics as in
    :func:`collector_struct`, but ``KnowledgeBasedDataLoader`` (``knowledge_dataloader.py:70``) is
    no torch DataLoader and has none: AttributeError, with every version of every package.

    Returns:
        Whether it was missing.
    """
    from recbole.data.dataloader import KnowledgeBasedDataLoader

    if hasattr(KnowledgeBasedDataLoader, "dataset"):
        return False
    KnowledgeBasedDataLoader.dataset = property(lambda self: self._dataset)
    return True


class _BothGenerators:
    """The random states of a knowledge-aware model's two loaders, as one."""

    def __init__(self, *generators: torch.Generator) -> None:
        self._generators = generators

    def get_state(self) -> torch.Tensor:
        """Both states, one after the other. Shape: ``(bytes,)``."""
        return torch.cat([generator.get_state() for generator in self._generators])

    def set_state(self, state: torch.Tensor) -> None:
        """Restore what :meth:`get_state` gave."""
        for generator, part in zip(self._generators, state.chunk(len(self._generators))):
            generator.set_state(part.clone())  # it ignores where a view begins


def knowledge_loader_generator() -> bool:
    """Give the training loader of the knowledge-aware models the random state of its two loaders.

    It has one for interactions and one for triples, and none itself: AttributeError in the first
    checkpoint.

    Returns:
        Whether it was missing.
    """
    from recbole.data.dataloader import KnowledgeBasedDataLoader

    if hasattr(KnowledgeBasedDataLoader, "generator"):
        return False
    KnowledgeBasedDataLoader.generator = property(
        lambda self: _BothGenerators(
            self.general_dataloader.generator, self.kg_dataloader.generator
        )
    )
    return True


def download_barrier() -> bool:
    """Let a single process download a data set.

    ``data/dataset/dataset.py:252`` waits for the other processes even if there are none: ValueError
    or RuntimeError (by torch version) after a successful download. With a process group the wait
    remains.

    Returns:
        Whether RecBole's method was replaced by this call.
    """
    from recbole.data.dataset import Dataset

    download = Dataset._download
    if hasattr(download, "__wrapped__"):
        return False

    @functools.wraps(download)
    def download_alone_or_together(self: Any) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            download(self)
        else:
            with _replaced(torch.distributed, "barrier", lambda *args, **kwargs: None):
                download(self)

    Dataset._download = download_alone_or_together
    return True


def grad_scaler() -> bool:
    """Let RecBole's trainers use the present names of torch's mixed precision.

    torch 2.4 deprecated ``torch.cuda.amp.GradScaler`` and ``autocast``: a FutureWarning each epoch
    from ``trainer/trainer.py:235``, each batch from ``:1453``. The new classes compute the same.

    Returns:
        Whether RecBole used the deprecated names.
    """
    from recbole.trainer import trainer

    old = getattr(trainer.amp.GradScaler, "__init__", None)
    if not hasattr(old, "__deprecated__"):
        return False
    trainer.amp = SimpleNamespace(
        GradScaler=functools.partial(torch.amp.GradScaler, "cuda"),
        autocast=functools.partial(torch.amp.autocast, "cuda"),
    )
    return True


def anomaly_mode() -> bool:
    """Let training run without torch's anomaly detection, unless the user has switched it on.

    ``model/sequential_recommender/sine.py:25`` switches it on for the whole process when it is
    imported, which importing any sequential model does: each forward operation then records a
    stack trace, and each gradient is searched for NaN.

    Returns:
        Whether RecBole had switched it on, or would have.
    """
    if "anomaly_mode" in _made:
        return False
    module = "recbole.model.sequential_recommender.sine"
    wanted = torch.is_anomaly_enabled() and module not in sys.modules
    importlib.import_module(module)
    switched = torch.is_anomaly_enabled() and not wanted
    torch.autograd.set_detect_anomaly(wanted)
    return switched


def optimizer_without_compiler() -> bool:
    """Train without importing torch's compiler, which nothing here uses.

    The import takes a second and more of each run. ``torch/_compile.py`` looks for the attribute
    before it imports. ``step`` of an optimizer imports the compiler for two marks that it alone
    reads; they stay where a class has made an optimizer already, whose ``step`` torch has wrapped.
    """
    optim = torch.optim
    made = False
    for name in ("add_param_group", "zero_grad", "state_dict", "load_state_dict"):
        plain = getattr(getattr(optim.Optimizer, name), "__wrapped__", None)
        if plain is not None and not hasattr(plain, "__dynamo_disable"):
            plain.__dynamo_disable = plain
            made = True
    for kind in (optim.Adam, optim.SGD, optim.Adagrad, optim.RMSprop):
        if hasattr(kind.step, "__wrapped__") and not hasattr(kind.step, "hooked"):
            kind.step = _step_without_compiler(kind.step.__wrapped__)  # type: ignore[method-assign]
            made = True
    return made


def _step_without_compiler(plain: Any) -> Any:
    """Torch's ``_use_grad_for_differentiable`` without its marks for the compiler."""

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return plain(self, *args, **kwargs)

    return step


def loader_rows() -> bool:
    """Let a loader hold the numbers of its rows as a range, not as a list of Python's numbers.

    ``data/dataloader/abstract_dataloader.py:61,66`` makes that list, 36 bytes a row, of which torch
    uses only the length, and entries that equal their positions.
    """
    module: Any = importlib.import_module("recbole.data.dataloader.abstract_dataloader")
    if "list" in vars(module):
        return False
    module.list = lambda numbers: numbers
    return True


def known_warnings() -> bool:
    """Silence the warnings that RecBole's own lines cause on a normal run, and no others.

    pandas 2.2 and torch 2.1 warn about idioms that RecBole uses (``data/dataset/dataset.py:501,
    648,650,1217``; ``torch.sparse.FloatTensor`` in the graph models), once for each line and run.
    The filters go last, so that any filter the user has set wins.

    Returns:
        Whether a filter was added.
    """
    before = len(warnings.filters)
    for category, message, module in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", message, category, module, append=True)
    return len(warnings.filters) > before


@contextmanager
def redirect_tensorboard(writer: Any | None = None) -> Iterator[Any]:
    """Choose the TensorBoard writer of the trainers that are built inside the block.

    RecBole makes a folder ``log_tensorboard/`` in the working directory with each Trainer
    (``trainer/trainer.py:115,887``); there is no option against it.

    Args:
        writer: Anything with ``add_scalar`` and ``add_hparams``; None to write nothing.

    Yields:
        The writer that the trainers get.
    """
    from recbole.trainer import trainer

    chosen = NullWriter() if writer is None else writer
    with _replaced(trainer, "get_tensorboard", lambda logger: chosen):
        yield chosen


def _get_data_struct(self: Any) -> Any:
    """Stand in for ``Collector.get_data_struct``: hand over what was collected, on the CPU.

    What belongs to one evaluation leaves the collector; what belongs to the data stays and is
    copied, so that no metric can change it.
    """
    from recbole.evaluator.collector import DataStruct

    handed_over = DataStruct()
    for key in list(self.data_struct._data_dict):
        value = self.data_struct[key]
        if key.startswith("rec.") or key == "data.label":
            del self.data_struct[key]
        else:
            value = copy.deepcopy(value)
        handed_over.set(key, value.cpu() if isinstance(value, torch.Tensor) else value)
    return handed_over


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute inside the block and put it back afterwards, also if it was not there."""
    had, old = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, old)
        else:
            delattr(owner, name)


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    if found is None:
        raise ValueError(f"version {version!r} does not start with a number")
    return int(found.group())


_MENDS: tuple[tuple[Callable[[], bool], str], ...] = (
    (numpy_aliases, "Config and metrics fail: numpy has no attribute 'float_', 'float', 'long'"),
    (anomaly_mode, "every sequential model trains under torch's anomaly detection, which is slow"),
    (dok_matrix_update, "LightGCN, NGCF and others fail: 'dok_matrix' has no '_update'"),
    (collector_struct, "ItemCoverage, GiniIndex, AveragePopularity, TailPercentage fail"),
    (knowledge_loader_dataset, "the same metrics fail for knowledge-aware models"),
    (knowledge_loader_generator, "knowledge-aware models cannot be resumed: no random state"),
    (download_barrier, "a finished download fails: no default process group"),
    (grad_scaler, "a FutureWarning about GradScaler in each epoch"),
    (popularity_of_training, "validation and test rows decide which popular negatives are drawn"),
    (pop_and_random, "Pop is not popularity, and Random one list for all users of a batch"),
    (weights_only_files, "a file of pretrained parameters can run code, below torch 2.6"),
    (pretrained_checkpoint, "the second stage of S3Rec and RaCT fails: UnpicklingError"),
    (optimizer_without_compiler, "a run takes a second and 70 MB for a compiler it never uses"),
    (loader_rows, "each loader takes 36 bytes a row for a list of numbers"),
    (known_warnings, "warnings of pandas and torch about RecBole's own lines"),
)
