"""RecBole's Config for a backbone and a method: merges layers, and reports typos."""

import contextlib
import copy
import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
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
from recbole_enhance.data.dataset_folder import SECTIONS, is_plain, read_settings
from recbole_enhance.enhancer import enhancer_names, load_enhancer
from recbole_enhance.enhancer.base import Enhancer
from recbole_enhance.experiment import validation
from recbole_enhance.experiment.columns import choose_columns
from recbole_enhance.experiment.names import (
    get_model_class,
    recbole_properties,
)
from recbole_enhance.experiment.pair import find_pair
from recbole_enhance.metric import registry
from recbole_enhance.model import MODELS
from recbole_enhance.model.faster import faster
from recbole_enhance.options import launched, recbole_models
from recbole_enhance.options.errors import InputError, OptionError, UnknownOptionError
from recbole_enhance.options.general import GeneralOptions
from recbole_enhance.options.gone import not_yet, without_gone
from recbole_enhance.options.model_class import (
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
    with_lists,
)
from recbole_enhance.options.recbole import RecBoleOptions
from recbole_enhance.options.schema import Options, is_list
from recbole_enhance.storage import files
from recbole_enhance.training.parts import refuse_parts
from recbole_enhance.training.row_adam import refuse_rows

logger = logging.getLogger("recbole_enhance")
COMMAND_LINE = "command line"
CONFIG_DICT = "config_dict"
_EVAL_BATCH_SIZE = 4096  # RecBole's


class Config(RecBoleConfig):
    """All settings of one run.

    ``config["model"]`` is the name of the backbone, because RecBole looks up classes by this name.
    ``config["enhancer"]`` is the name of the method or None, and ``config["label"]`` names both.

    Priority, lowest first: RecBole's YAML, ``properties/overall.yaml``, ``properties/model/``,
    ``dataset_configs/``, the dataset's own folder, ``properties/enhancer/``, ``config_file_list``,
    ``config_dict``, command line.

    Args:
        model: Name of a method or of a RecBole model; or one of your own, a model's class or an
            :class:`~recbole_enhance.enhancer.base.Enhancer`, as such or as ``module:Name``.
        dataset: Name of a dataset.
        config_file_list: YAML files of the user.
        config_dict: Options; text is read as YAML, dotted keys reach into dictionaries.
        command_line: Options as text, from :func:`~recbole_enhance.options.read.parse_argv`.

    Attributes:
        origins: Option -> the file or place its value comes from.
        options: The merged options as plain values, before RecBole fills in what it derives.
        pair: The backbone and the method, as they were named.
        method: The :class:`~recbole_enhance.enhancer.base.Enhancer`, or None.
        not_yet: Options that a run folder of an earlier version does not have, see
            :func:`recorded_config`.

    Raises:
        ValueError: If an option is unknown or out of range, or two do not fit together.
    """

    not_yet: frozenset[str] = frozenset()

    def __init__(
        self,
        model: str | type | Enhancer | None = None,
        dataset: str | None = None,
        config_file_list: Sequence[str | Path] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        command_line: Mapping[str, str] | None = None,
    ) -> None:
        self._begin(command_line)
        with self.naming_origins():
            try:
                super().__init__(model, dataset, config_file_list, config_dict)
            except (KeyError, NotImplementedError, RuntimeError, TypeError) as error:
                # RecBole raises many types of errors, we raise one.
                raise InputError(" ".join(str(arg) for arg in error.args)) from error
            self.model_class: Any  # RecBole sets it
            if hasattr(self.model_class, "check_options"):
                self.model_class.check_options(self)
            if self.method is not None:
                self.method.check(self)
            validation.refuse_missing_labels(self, self._inter_columns)
            validation.refuse_unweighable(self)
            refuse_parts(self)
            refuse_rows(self)
        if self["fast"] and not (self.method and self.method.wrap):  # wrappers score on their own
            self.model_class = faster(self.model_class)

    def _begin(self, command_line: Mapping[str, str] | None) -> None:
        self._command_line = dict(command_line or {})
        self._file_layers: list[Layer] = []
        self._internal_layers: list[Layer] = []
        self._external_layers: list[Layer] = []
        self.origins: dict[str, str] = {}

    @classmethod
    def of_defaults(cls, model: str, backbone: str | None = None) -> "Config":
        """The files of options below the user's own; they need no data, and nothing is checked.

        Args:
            model: A method or a model.
            backbone: The model under the method; None takes the method's own.

        Raises:
            OptionError: If there is no such model.
        """
        config = cls.__new__(cls)
        config._begin(None)
        with config.naming_origins():
            config.compatibility_settings()
            config._init_parameters_category()
            config.cmd_config_dict = {"model": model, "backbone": backbone}
            config.variable_config_dict = {}
            config._merge_external_config_dict()
            config.model, config.model_class, _ = config._get_model_and_dataset(None, "-")
            config._load_internal_config_dict(config.model, config.model_class, "-")
        return config

    @contextlib.contextmanager
    def naming_origins(self) -> Iterator[None]:
        """Add to a refusal within the block where the option was given."""
        try:
            yield
        except (OptionError, UnknownOptionError) as error:
            if error.origin is None:
                error.origin = self._origin(error.option)
            raise

    def _origin(self, option: str) -> str | None:
        """Where an option's value, or that of a mapping that it belongs to, comes from."""
        origins = self.origins or merge([*self._internal_layers, *self._external_layers])[1]
        parts = option.split(".")
        names = [".".join(parts[: n + 1]) for n in reversed(range(len(parts)))]
        return next((origins[name] for name in names if name in origins), None)

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
            (CONFIG_DICT, nest(self.variable_config_dict)),
            (COMMAND_LINE, nest(self.cmd_config_dict)),
        ]
        self.external_config_dict, _ = merge(self._external_layers)

    def _get_model_and_dataset(self, model: Any, dataset: Any) -> tuple[str, Any, str]:
        dataset = dataset or self.external_config_dict.get("dataset")
        for option, value in (("model", model or self._says("model")), ("dataset", dataset)):
            if not value:
                raise InputError(f"--{option}=NAME is missing{self._misspelt(option)}")
        self.pair = find_pair(self._external_layers, len(self._file_layers), model)
        self.method = self.pair.method
        return self.pair.model_class.__name__, self.pair.model_class, str(dataset)

    def _misspelt(self, option: str) -> str:
        """What was said in its place, perhaps."""
        said = {name for _, options in self._external_layers for name in options}
        near = difflib.get_close_matches(option, sorted(said), n=1, cutoff=0.8)
        return f"; {near[0]!r} is not an option" if near else ""

    def _says(self, option: str) -> bool:
        return any(options.get(option) for _, options in self._external_layers)

    # ---- layers ----------------------------------------------------------------------------

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
            self._internal_layers.append(self.pair.defaults)

    def _take_the_protocol_of_din(self, dataset: str) -> None:
        """Evaluate a context-aware model over sequences as RecBole does DIN: it scores pairs."""
        folder = recbole_properties("quick_start_config")
        self._update_internal_config_dict(folder / "sequential_DIN.yaml")
        if dataset == "ml-100k":
            self._update_internal_config_dict(folder / "sequential_DIN_on_ml-100k.yaml")

    def _add_layer(self, path: Path) -> None:
        self._internal_layers.append((f"{path.parent.name}/{path.name}", load_yaml(path)))

    def _add_dataset_layers(self, dataset: str, model_class: Any) -> None:
        """Add the dataset's options, those of the model's type, and the variant's.

        Ours are from ``dataset_configs/``; those in the dataset's own folder are over them.
        """
        variant = self.external_config_dict.get("variant")
        variant = None if variant is None else str(variant)
        path = resource_dir("dataset_configs") / f"{dataset}.yaml"
        ours = is_plain(dataset) and path.is_file()
        named = self.external_config_dict.get("data_path")
        data_path = Path(str(named or self.internal_config_dict["data_path"]))
        own_path, own = read_settings(data_path, dataset)
        files = [(f"dataset_configs/{path.name}", load_yaml(path) if ours else {})]
        files += [(str(own_path), own)] if own else []
        section = DATASET_SECTIONS.get(model_class.type.name, "general")
        variants: list[Layer] = []
        known: dict[str, None] = {}
        for origin, options in files:
            by_type = {name: options.pop(name, None) or {} for name in SECTIONS}
            of_file = options.pop("variants", None) or {}
            known |= dict.fromkeys(of_file)
            self._internal_layers += [(origin, options), (f"{origin}: {section}", by_type[section])]
            variants.append((f"{origin}: variants.{variant}", of_file.get(variant) or {}))
        if variant is not None and variant not in known:
            raise OptionError(
                "variant", variant, f"{dataset} has {', '.join(known) or 'no variants'}"
            )
        self._internal_layers += variants
        self.has_dataset_config = ours or bool(own)

    def layer_of(self, option: str) -> int:
        """The number of the layer that says an option, from the lowest; -1 if none does."""
        layers = [*self._internal_layers, *self._external_layers]
        saying = (n for n, (_, options) in enumerate(layers) if option in options)
        return max(saying, default=-1)

    def _get_final_config_dict(self) -> dict[str, Any]:
        self._refuse_unknown()
        defaults = merge(self._internal_layers)[0]
        lists = [
            key for schema in self.schemas() for key in schema.model_fields if is_list(schema, key)
        ]
        given = [(o, with_lists(options, defaults, lists)) for o, options in self._external_layers]
        values, self.origins = merge([*self._internal_layers, *given])
        said = self.origins.get("eval_args.order") in [origin for origin, _ in given]
        validation.order_a_split_by_time(values, said)
        typed = validation.check_values(values, defaults, self.schemas())
        validation.refuse_bad_protocol(values)
        # What a file says and the code reads are the same but for a few, as ndcg@20.
        typed = {key: value for key, value in typed.items() if value != values[key]}
        values["model"], values["dataset"] = self.model, self.dataset
        values["backbone"] = self.model
        values["enhancer"] = self.method.name if self.method else None
        values["label"] = f"{self.method.name}-{self.model}" if self.method else self.model
        self.options = copy.deepcopy(values)
        self.options["backbone"] = self.pair.model_name
        self.options["model"] = self.pair.method_name or self.pair.model_name
        return values | typed

    def schemas(self) -> list[type[Options]]:
        """Classes of options; the first that has an option decides what it may be."""
        found = [self.method.options] if self.method else []
        schema = getattr(self.model_class, "options", None)
        if isinstance(schema, type) and issubclass(schema, Options):
            found.append(schema)
        if made := recbole_models.schema_of(self.model_class):
            found.append(made)
        return [*found, GeneralOptions, RecBoleOptions]

    # ---- refusing --------------------------------------------------------------------------

    def _refuse_unknown(self) -> None:
        known = {
            *merge(self._internal_layers)[0],
            *RecBoleOptions.model_fields,
            "reg_weight",  # read by some models of RecBole whose YAML does not name it
            *(key for group in self.parameters.values() for key in group),
        }
        known |= options_read_by(self.model_class)
        known = known - {"config_file"} | {"config_files"}  # RecBole names the one, and reads none
        self._external_layers = [
            (origin, without_gone(options, origin)) for origin, options in self._external_layers
        ]
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
                    (n for n in enhancer_names().values() if key.startswith(f"{n.lower()}_")), None
                )
                if owner and (self.method is None or self.method.name != owner):
                    raise UnknownOptionError(
                        key, f"an option of {owner}, and this run is of {self.model}"
                    )
                raise UnknownOptionError(key, "unknown option", origin, nearest(key, known))

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
        self._drop_negatives_nobody_asked_for(values)
        values["eval_batch_size"] = values["eval_batch_size"] or _EVAL_BATCH_SIZE
        data_path = Path(str(values["data_path"]))
        self._set_parameters_of_two_metric_types(values)
        bundled = Path(values["data_path"]).resolve()  # ml-100k comes with RecBole
        folder = data_path / self.dataset
        first = atomic.suffixes(None, values["benchmark_filename"])[0]
        if self.dataset == "ml-100k" and not (folder / f"{self.dataset}.{first}").is_file():
            data_path = bundled.parent
        self.options["data_path"] = str(data_path.resolve())
        if values["eval_candidates_file"]:
            file = str(Path(values["eval_candidates_file"]).resolve())
            values["eval_candidates_file"] = self.options["eval_candidates_file"] = file
        # RecBole unpickles data that lie in the folder of checkpoints, unasked. Nothing lies here.
        nowhere = str(Path(os.devnull, "pickle"))
        values["dataset_save_path"] = values["dataloaders_save_path"] = nowhere
        values["data_path"] = str(data_path)
        named = any("load_col" in layer for _, layer in self._external_layers)
        self._inter_columns = choose_columns(self, values, self.has_dataset_config or named)

    def _set_parameters_of_two_metric_types(self, values: dict[str, Any]) -> None:
        """Allow value metrics beside ranking metrics; RecBole takes one type at a time."""
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
        elif launched.size() > 1:
            self.final_config_dict["gpu_id"] = _own_gpu(self.final_config_dict["gpu_id"])
        if not launched.is_first():
            self.final_config_dict |= {"log_wandb": False, "show_progress": False}
        super()._init_device()


def recorded_config(path: Path, options: Mapping[str, Any], key: bool = False) -> Config:
    """Settings that a run folder has recorded, also one of an earlier version.

    Args:
        path: Its ``config.yaml``.
        options: What is put over them.
        key: Whether the run keeps the key that its model and checkpoint are named by.

    Raises:
        ValueError: As :class:`Config`.
    """
    later = not_yet(files.read_settings(path))
    config = Config(config_file_list=[path], config_dict={**later, **options})
    config.not_yet = frozenset(later if key else ())
    return config


@contextlib.contextmanager
def anonymous_dict() -> Iterator[None]:
    """Leave ``config_dict`` out of a refusal, where the user has not written one."""
    try:
        yield
    except (OptionError, UnknownOptionError) as error:
        if error.origin == CONFIG_DICT:
            error.origin = None
        raise


def _own_gpu(gpu_id: Any) -> str:
    """The GPU of one of several processes: the own entry of a list, else the own number."""
    listed = [word for word in str(gpu_id).split(",") if word]
    number = launched.local_rank()
    return listed[number] if 1 < len(listed) > number else str(number)


DATASET_SECTIONS = {name.upper(): name for name in SECTIONS}


def _options_of(name: str) -> set[str]:
    """Options of a method or of a RecBole model, by its name in lower case."""
    read: set[str] = set()
    with contextlib.suppress(ValueError):  # unknown, or a package that it needs is missing
        if name in enhancer_names():
            return set(load_enhancer(enhancer_names()[name]).default_options()[1])
        model_class = get_model_class(name)
        path = recbole_properties("model") / f"{model_class.__name__}.yaml"
        read = set(load_yaml(path)) | options_read_by(model_class)
    return read
