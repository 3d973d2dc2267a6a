"""RecBole's Config on two axes, backbone and method: layers merge, and typos are told."""

import contextlib
import copy
import importlib
import logging
import os
import pkgutil
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole.config import Config as RecBoleConfig
from recbole.evaluator.register import metric_types
from recbole.model.abstract_recommender import ContextRecommender
from recbole.utils import EvaluatorType, ModelType
from recbole.utils.argument_list import (
    dataset_arguments,
    evaluation_arguments,
    general_arguments,
    training_arguments,
)

from recbole_enhance.compat import mends
from recbole_enhance.data import atomic
from recbole_enhance.data.groups import check_group_fields
from recbole_enhance.enhancer import ENHANCERS, load_enhancer
from recbole_enhance.experiment import validation
from recbole_enhance.experiment.columns import choose_columns
from recbole_enhance.metric import registry
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.options.errors import OptionError, UnknownOptionError
from recbole_enhance.options.model_class import (
    checked_class,
    class_path,
    how_to_name,
    import_class,
    options_read_by,
)
from recbole_enhance.options.paths import resource_dir
from recbole_enhance.options.read import (
    Layer,
    Loader,
    load_yaml,
    merge,
    nearest,
    nest,
    read_option,
)

logger = logging.getLogger("recbole_enhance")
COMMAND_LINE = "command line"
# Options that RecBole reads but no YAML of it names.
_UNNAMED_OPTIONS = (
    "model",
    "dataset",
    "convert_token_to_onehot",
    "encoding",
    "tail_ratio",
    "token_num_threshold",
    "save_step",
    "reg_weight",
    "pretrain_epochs",
)
_EVAL_BATCH_SIZE = 4096  # RecBole's
_SUBMODULES = ("general", "context_aware", "sequential", "knowledge_aware", "exlib")


def recbole_models() -> dict[str, tuple[str, str]]:
    """List RecBole's models: lower-case name -> (name, module)."""
    import recbole.model as package

    spelling = {
        path.stem.lower(): path.stem for path in _recbole_properties("model").glob("*.yaml")
    }
    models = {}
    for family in _SUBMODULES:
        folder = Path(package.__path__[0]) / f"{family}_recommender"
        for module in pkgutil.iter_modules([str(folder)]):
            name = spelling.get(module.name, module.name.capitalize())
            models[module.name] = (name, f"recbole.model.{family}_recommender.{module.name}")
    return models


def get_model_class(name: str) -> Any:
    """Find a backbone's class by its name, whatever the case.

    Raises:
        ValueError: If there is no such model, or a package it needs is missing.
    """
    own = {spelled.lower(): spelled for spelled in MODELS}
    if name.lower() in own:
        return load_model(own[name.lower()])
    models = recbole_models()
    if name.lower() not in models:
        known = [spelled for spelled, _ in models.values()] + [*MODELS, *ENHANCERS]
        raise ValueError(
            f"model={name}: unknown model{nearest(name, known)} "
            "(`recbole-enhance list` shows all of them)"
        )
    spelled, module = models[name.lower()]
    try:
        return getattr(importlib.import_module(module), spelled)
    except ImportError as error:
        raise ValueError(
            f"model={spelled}: needs the package {error.name}, which is missing"
        ) from error


def _recbole_properties(folder: str) -> Path:
    import recbole

    return Path(recbole.__file__).parent / "properties" / folder


class Config(RecBoleConfig):
    """All settings of one run.

    ``config["model"]`` is the backbone's name, so that every look-up by name inside RecBole finds
    what it should; ``config["enhancer"]`` is the method's name or None; ``config["label"]`` names
    the pair. Priority, lowest first: RecBole's YAML, ``properties/overall.yaml``,
    ``properties/model/``, ``dataset_configs/``, ``properties/enhancer/``, ``config_file_list``,
    ``config_dict``, command line.

    Args:
        model: Name of a method or of a RecBole model, or a model class of your own, as the class
            or as ``module:Class``.
        dataset: Name of a dataset.
        config_file_list: YAML files of the user.
        config_dict: Options; text is read as YAML, dotted keys reach into dictionaries.
        command_line: Options as text, from :func:`~recbole_enhance.options.read.parse_argv`.

    Attributes:
        origins: Option -> the file or place its value comes from.
        options: The merged options as plain values, before RecBole fills in what it derives.
        method: The :class:`~recbole_enhance.enhancer.base.Enhancer`, or None.
        own_class: Where the backbone is the user's class, the option that names it (``model`` or
            ``backbone``) and its ``module:Class``; else None.

    Raises:
        ValueError: If an option is unknown or out of range, or two do not fit together.
    """

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Mapping[str, str] | None = None,
    ) -> None:
        self._command_line = dict(command_line or {})
        self._file_layers: list[Layer] = []
        self._internal_layers: list[Layer] = []
        try:
            super().__init__(model, dataset, config_file_list, config_dict)
        except (KeyError, NotImplementedError, RuntimeError, TypeError) as error:
            # RecBole says no with many types; ours is one.
            raise ValueError(" ".join(str(arg) for arg in error.args)) from error
        if hasattr(self.model_class, "check_options"):
            self.model_class.check_options(self)
        if self.method is not None:
            self.method.check(self)
        validation.refuse_missing_labels(self, self._inter_columns)

    # ---- reading ---------------------------------------------------------------------------

    def compatibility_settings(self) -> None:
        """Mend what today's numpy, scipy and torch broke (RecBole's own hook for it)."""
        mends.apply()
        registry.register()

    def _init_parameters_category(self) -> None:
        groups = (general_arguments, training_arguments, evaluation_arguments, dataset_arguments)
        names = ("General", "Training", "Evaluation", "Dataset")
        # Copies: RecBole appends to its module-level lists.
        self.parameters = {name: list(group) for name, group in zip(names, groups)}

    def _build_yaml_loader(self) -> type:
        return Loader

    def _load_config_files(self, file_list: Any) -> dict[str, Any]:
        self._file_layers = [(str(path), nest(load_yaml(path))) for path in file_list or []]
        return {}

    def _load_variable_config_dict(self, config_dict: Any) -> dict[str, Any]:
        return {
            key: read_option(key, value) if isinstance(value, str) else copy.deepcopy(value)
            for key, value in (config_dict or {}).items()
        }

    def _load_cmd_line(self) -> dict[str, Any]:
        return {key: read_option(key, text) for key, text in self._command_line.items()}

    def _merge_external_config_dict(self) -> None:
        self._external_layers = [
            *self._file_layers,
            ("config_dict", nest(self.variable_config_dict)),
            (COMMAND_LINE, nest(self.cmd_config_dict)),
        ]
        self.external_config_dict, _ = merge(self._external_layers)

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, Any, str]:
        python = len(self._external_layers), "model="  # has the last word
        model, newer = (model, python) if model else self._last("model")
        dataset = dataset or self.external_config_dict.get("dataset")
        for option, value in (("model", model), ("dataset", dataset)):
            if not value:
                raise ValueError(f"--{option}=NAME is missing")
        backbone, older = self._last("backbone")
        by_name = {name.lower(): name for name in ENHANCERS}
        enhancer = by_name.get(model.lower()) if isinstance(model, str) else None
        option, place = "model", newer
        if enhancer:
            option, place = "backbone", older
            model = backbone or load_yaml(self._enhancer_yaml(enhancer))["backbone"]
        elif backbone not in (None, model) and not self._is_of_another_run(older, newer):
            raise ValueError(
                f"backbone={backbone}: {model} is no method; methods are {', '.join(ENHANCERS)}"
            )
        self.method = load_enhancer(enhancer) if enhancer else None
        model_class, self._recorded_name = self._find_class(option, model, place)
        self.own_class = (option, self._recorded_name) if ":" in self._recorded_name else None
        if model_class.type == ModelType.DECISIONTREE:
            raise ValueError(
                f"model={model_class.__name__}: decision trees have no training to enhance"
            )
        for name, packages in mends.missing_packages(model_class.__name__).items():
            raise ValueError(f"model={name}: needs pip install {' '.join(packages)}")
        if self.method is not None and self.method.adapt is not None:
            model_class = self.method.adapt(model_class)
        return model_class.__name__, model_class, str(dataset)

    def _last(self, option: str) -> tuple[Any, tuple[int, str]]:
        """Value of an option in the last layer that has it, and that layer's number and name."""
        for number, (origin, options) in reversed(list(enumerate(self._external_layers))):
            if options.get(option):
                return options[option], (number, origin)
        return None, (-1, "")

    def _is_of_another_run(self, older: tuple[int, str], newer: tuple[int, str]) -> bool:
        """Whether a file names model and backbone, and a later layer names another model."""
        number, _ = older
        of_a_file = number < min(newer[0], len(self._file_layers))
        return of_a_file and "model" in self._external_layers[number][1]

    def _find_class(self, option: str, model: Any, place: tuple[int, str]) -> tuple[Any, str]:
        """The backbone's class, and its name for ``config.yaml``."""
        number, origin = place
        if isinstance(model, type):
            with contextlib.suppress(ValueError):
                if get_model_class(model.__name__) is model:
                    return model, model.__name__
            return checked_class(option, model), class_path(model)
        if isinstance(model, (dict, list)):
            raise ValueError(f"{option}={model}: a name or a class is expected")
        if ":" not in str(model):
            try:
                model_class = get_model_class(str(model))
            except ValueError as error:  # it speaks of the model
                raise ValueError(re.sub("^model=", f"{option}=", str(error))) from error
            return model_class, model_class.__name__
        if 0 <= number < len(self._file_layers):
            raise ValueError(
                f"{option}={model}: {origin} names code of yours, and files do not import code; "
                f"say {how_to_name(option, str(model))}"
            )
        return import_class(option, str(model)), str(model)

    # ---- layers ----------------------------------------------------------------------------

    @staticmethod
    def _enhancer_yaml(name: str) -> Path:
        return resource_dir("properties") / "enhancer" / f"{name}.yaml"

    def _update_internal_config_dict(self, file: Any) -> dict[str, Any]:
        options = load_yaml(file)
        self._internal_layers.append((f"recbole: {Path(file).name}", options))
        self.internal_config_dict.update(options)
        return options

    def _load_internal_config_dict(self, model: str, model_class: Any, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        if model_class.type == ModelType.SEQUENTIAL and issubclass(model_class, ContextRecommender):
            self._take_the_protocol_of_din(dataset)
        self._internal_layers.append(("model", {"MODEL_TYPE": model_class.type}))
        self._add_layer(resource_dir("properties") / "overall.yaml")
        if model in MODELS:
            self._add_layer(resource_dir("properties") / "model" / f"{model}.yaml")
        self._add_dataset_layers(dataset, model_class)
        if self.method is not None:
            self._add_layer(self._enhancer_yaml(self.method.name))

    def _take_the_protocol_of_din(self, dataset: str) -> None:
        """Evaluate a context-aware model over sequences as RecBole does DIN: it scores pairs."""
        folder = _recbole_properties("quick_start_config")
        self._update_internal_config_dict(folder / "sequential_DIN.yaml")
        if dataset == "ml-100k":
            self._update_internal_config_dict(folder / "sequential_DIN_on_ml-100k.yaml")

    def _add_layer(self, path: Path) -> None:
        self._internal_layers.append((f"{path.parent.name}/{path.name}", load_yaml(path)))

    def _add_dataset_layers(self, dataset: str, model_class: Any) -> None:
        """Add the dataset's options, those of the model's type, and the variant's."""
        variant = self.external_config_dict.get("variant")
        variant = None if variant is None else str(variant)
        path = resource_dir("dataset_configs") / f"{dataset}.yaml"
        known = path.is_file() and path.parent == resource_dir("dataset_configs")
        options = load_yaml(path) if known else {}
        by_type = {name: options.pop(name, None) or {} for name in DATASET_SECTIONS.values()}
        variants = options.pop("variants", None) or {}
        if variant is not None and variant not in variants:
            raise ValueError(
                f"variant={variant}: {dataset} has {', '.join(variants) or 'no variants'}"
            )
        origin = f"dataset_configs/{path.name}"
        section = DATASET_SECTIONS.get(model_class.type.name, "general")
        self._internal_layers += [
            (origin, options),
            (f"{origin}: {section}", by_type[section]),
            (f"{origin}: variants.{variant}", variants.get(variant, {})),
        ]
        self.has_dataset_config = known

    def _get_final_config_dict(self) -> dict[str, Any]:
        self._refuse_unknown()
        values, self.origins = merge([*self._internal_layers, *self._external_layers])
        validation.refuse_bad_values(values, merge(self._internal_layers)[0])
        self._order_a_split_by_time(values)
        validation.refuse_bad_protocol(values)
        values["model"], values["dataset"] = self.model, self.dataset
        values["backbone"] = self.model
        values["enhancer"] = self.method.name if self.method else None
        values["label"] = f"{self.method.name}-{self.model}" if self.method else self.model
        self.options = copy.deepcopy(values)
        self.options["backbone"] = self._recorded_name
        self.options["model"] = self.method.name if self.method else self._recorded_name
        return values

    def _order_a_split_by_time(self, values: dict[str, Any]) -> None:
        """Order by time where the split is by time and nobody has said how."""
        protocol, key = values["eval_args"], "eval_args.order"
        split = protocol.get("split") if isinstance(protocol, dict) else None
        if isinstance(split, dict) and "TS" in split and protocol.get("order") == "RO":
            if self.origins.get(key) in [origin for origin, _ in self._external_layers]:
                raise OptionError(
                    key, "RO", "eval_args.split=TS splits by time, for which rows must be in TO"
                )
            protocol["order"] = "TO"

    # ---- refusing --------------------------------------------------------------------------

    def _refuse_unknown(self) -> None:
        known = {
            *merge(self._internal_layers)[0],
            *_UNNAMED_OPTIONS,
            *(key for group in self.parameters.values() for key in group),
        }
        known |= options_read_by(self.model_class)
        known = known - {"config_file"} | {"config_files"}  # RecBole names the one, and reads none
        files = len(self._file_layers)
        self._external_layers[:files] = [
            (origin, self._without_others(origin, options, known))
            for origin, options in self._external_layers[:files]
        ]
        for origin, options in self._external_layers:
            validation.refuse_computed(options, origin)
            for key in options:
                if key in known:
                    continue
                owner = next(
                    (name for name in ENHANCERS if key.startswith(f"{name.lower()}_")), None
                )
                if owner and (self.method is None or self.method.name != owner):
                    raise UnknownOptionError(
                        key, f"an option of {owner}, and this run is of {self.model}"
                    )
                raise UnknownOptionError(key, f"unknown option ({origin}){nearest(key, known)}")

    def _without_others(self, origin: str, options: Mapping[str, Any], known: set[str]) -> Any:
        """Leave out what belongs to the model that a file names, where this run has another."""
        named = {str(options.get(key) or "").lower() for key in ("model", "backbone")}
        others = set(options) - known
        if others:
            others &= set().union(*map(_options_of, named))
        if others:
            logger.info(
                "%s: %s left out, no option of %s", origin, ", ".join(sorted(others)), self.model
            )
        return {key: value for key, value in options.items() if key not in others}

    # ---- RecBole's own steps ---------------------------------------------------------------

    def _set_default_parameters(self) -> None:
        values = self.final_config_dict
        validation.refuse_bad_metrics(values)
        registry.refuse_bad_options(values)
        self._drop_negatives_nobody_asked_for(values)
        values["eval_batch_size"] = values["eval_batch_size"] or _EVAL_BATCH_SIZE
        data_path = Path(str(values["data_path"]))
        self._set_parameters_of_two_metric_types(values)
        bundled = Path(values["data_path"]).resolve()  # ml-100k comes with RecBole
        own = data_path / self.dataset
        if self.dataset == "ml-100k" and not (own / f"{self.dataset}.inter").is_file():
            data_path = bundled.parent
        self.options["data_path"] = str(data_path.resolve())
        splits = values["benchmark_filename"] or ()
        # RecBole unpickles data that lie in the folder of checkpoints, unasked. Nothing lies here.
        nowhere = str(Path(os.devnull, "pickle"))
        values["dataset_save_path"] = values["dataloaders_save_path"] = nowhere
        values["data_path"] = str(atomic.find_dataset(data_path, self.dataset, splits))
        named = any("load_col" in layer for _, layer in self._external_layers)
        self._inter_columns = choose_columns(self, values, self.has_dataset_config or named)
        check_group_fields(Path(values["data_path"]), self.dataset, values)

    def _set_parameters_of_two_metric_types(self, values: dict[str, Any]) -> None:
        """Let value metrics stand beside ranking ones: RecBole takes one type at a time."""
        metrics = values["metrics"] if isinstance(values["metrics"], list) else [values["metrics"]]
        ranking = [name for name in metrics if metric_types[name.lower()] == EvaluatorType.RANKING]
        values["metrics"] = ranking or metrics
        super()._set_default_parameters()
        values["metrics"] = metrics

    def _drop_negatives_nobody_asked_for(self, values: dict[str, Any]) -> None:
        """Let models with a cross-entropy loss over all items (SASRec) run by their name alone.

        RecBole refuses them until ``train_neg_sample_args=None`` is said, since its own default
        asks for one negative.
        """
        origins = [o for key, o in self.origins.items() if key.startswith("train_neg_sample_args")]
        if (
            all(origin.startswith("recbole:") for origin in origins)
            and not hasattr(self.model_class, "input_type")
            and values.get("loss_type") == "CE"
        ):
            values["train_neg_sample_args"] = self.options["train_neg_sample_args"] = None

    def _init_device(self) -> None:
        if not self.final_config_dict["use_gpu"]:
            self.final_config_dict["gpu_id"] = ""  # RecBole reads gpu_id only
        super()._init_device()


DATASET_SECTIONS = {
    "GENERAL": "general",
    "CONTEXT": "context",
    "SEQUENTIAL": "sequential",
    "KNOWLEDGE": "knowledge",
}


def _options_of(name: str) -> set[str]:
    """Options of a method or of a RecBole model, by its name in lower case."""
    for method in ENHANCERS:
        if method.lower() == name:
            return set(load_yaml(resource_dir("properties") / "enhancer" / f"{method}.yaml"))
    read: set[str] = set()
    with contextlib.suppress(ValueError):  # unknown, or a package that it needs is missing
        model_class = get_model_class(name)
        path = _recbole_properties("model") / f"{model_class.__name__}.yaml"
        read = set(load_yaml(path)) | options_read_by(model_class)
    return read
