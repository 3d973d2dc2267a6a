"""What methods that train on (user, item, negative) share: backbones, samplers and the loss."""

import inspect
from typing import Any

import torch
from recbole.model.general_recommender.neumf import NeuMF
from recbole.model.loss import BPRLoss
from recbole.utils import InputType, ModelType
from torch import Tensor

from recbole_enhance.data.loaders import FastTrainLoader
from recbole_enhance.model.embeddings import table_called
from recbole_enhance.options.errors import InputError, OptionError
from recbole_enhance.storage.random_state import kept_random_state
from recbole_enhance.storage.run_folder import RunFolder
from recbole_enhance.training.losses import make_weighable
from recbole_enhance.training.trainer import EnhancedTrainer

# General recommenders with one BPRLoss, and NeuMF, which gets one; tests run those they can.
BACKBONES = ("BPR", "DGCF", "LightGCN", "MultiGCCF", "NCL", "NGCF", "NeuMF", "SpectralCF")


def pairwise(model_class: type) -> type:
    """Make NeuMF, which RecBole trains on labels, train on triplets; others stay what they are."""
    if not issubclass(model_class, NeuMF):
        return model_class
    base: Any = model_class

    class Pairwise(base):
        input_type = InputType.PAIRWISE

        def __init__(self, config: Any, dataset: Any) -> None:
            super().__init__(config, dataset)
            self.loss = BPRLoss()

        def calculate_loss(self, interaction: Any) -> Tensor:
            user, item = interaction[self.USER_ID], interaction[self.ITEM_ID]
            negative = interaction[self.NEG_ITEM_ID]
            return self.loss(self.forward(user, item), self.forward(user, negative))

        def predict(self, interaction: Any) -> Tensor:
            # Not through the sigmoid, which is 1 for every score above some 17.
            return self.forward(interaction[self.USER_ID], interaction[self.ITEM_ID])

    for name in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Pairwise, name, getattr(model_class, name))
    return Pairwise


def check_triplets(config: Any) -> None:
    """Refuse backbones that cannot work, and training without negatives.

    Args:
        config: The run's settings.

    Raises:
        OptionError: Naming the option or the backbone, and what is allowed.
    """
    model_class, name = config.model_class, config.model_class.__name__
    # A user's own model is looked at once it is built.
    own = not model_class.__module__.startswith(("recbole.", "recbole_enhance."))
    fits = own and config["MODEL_TYPE"] == ModelType.GENERAL
    if not (fits or name in BACKBONES) or config["MODEL_INPUT_TYPE"] != InputType.PAIRWISE:
        raise OptionError(
            "backbone",
            name,
            f"{config.method.name} trains on triplets (user, item, negative) with one BPR "
            f"loss each; backbones that work: {', '.join(BACKBONES)}",
        )
    if config["train_neg_sample_args"]["sample_num"] == "none":
        raise OptionError(
            "train_neg_sample_args", None, f"{config.method.name} needs negatives in training"
        )


def refuse_other_samplers(config: Any, own_num: str | None = None) -> None:
    """Refuse options of sampling that a method with its own sampler would ignore.

    Args:
        config: The run's settings.
        own_num: Option of the method that gives the number of negatives, where it has one.

    Raises:
        OptionError: Naming the option, and what to use instead.
    """
    method, negatives = config.method.name, config["train_neg_sample_args"]
    if not config["fast"]:
        raise OptionError(
            "fast", False, f"{method} draws its negatives in the fast training loader"
        )
    if negatives["distribution"] != "uniform" or negatives["dynamic"]:
        key = "dynamic" if negatives["dynamic"] else "distribution"
        raise OptionError(
            f"train_neg_sample_args.{key}",
            negatives[key],
            f"{method} draws its own negatives; leave uniform, and dynamic False",
        )
    if own_num and negatives["sample_num"] != 1:
        raise OptionError(
            "train_neg_sample_args.sample_num", negatives["sample_num"], f"{method} takes {own_num}"
        )


def refuse_without_factors(config: Any, option: str) -> None:
    """Refuse a NeuMF that has no matrix factorisation, where an option needs its factors.

    Args:
        config: The run's settings.
        option: The option that needs them, for the message.

    Raises:
        OptionError: If ``mf_train`` is off.
    """
    if issubclass(config.model_class, NeuMF) and not config["mf_train"]:
        raise OptionError("mf_train", False, f"{option} needs NeuMF's matrix factorisation")


class SamplingTrainer(EnhancedTrainer):
    """Trains on negatives of the method's own sampler, drawn in the fast loader."""

    def make_samplers(self, loader: FastTrainLoader) -> None:
        """Build what needs the training part; called before a checkpoint is continued."""
        raise NotImplementedError

    def choose_sampler(self, loader: FastTrainLoader, epoch: int) -> None:
        """Give the loader the epoch's sampler."""
        raise NotImplementedError

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """Train, with the arguments and the result of RecBole's ``fit``."""
        if not isinstance(train_data, FastTrainLoader):
            raise InputError(
                f"{self.config.method.name}: needs the fast training loader, on one device"
            )
        self.make_samplers(train_data)
        return super().fit(train_data, *args, **kwargs)

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        if isinstance(train_data, FastTrainLoader):  # else batches that were fetched beforehand
            self.choose_sampler(train_data, epoch_idx)
        return super()._train_epoch(train_data, epoch_idx, *args, **kwargs)


class WeighingTrainer(EnhancedTrainer):
    """Trains on a loss that is made of the triplets' losses.

    Attributes:
        n_negatives: Negatives per positive, n. The triplets of a batch of B positives stand as
            RecBole tiles them, negative k of positive b in row k * B + b.
    """

    def __init__(self, config: Any, model: Any, folder: RunFolder | None = None) -> None:
        super().__init__(config, model, folder)
        self.n_negatives = int(config["train_neg_sample_args"]["sample_num"])
        self.criterion = make_weighable(model)
        self._batch: Any = None

    def combine(self, losses: Tensor, positive: Tensor, negative: Tensor) -> Tensor | None:
        """Make one loss of the batch's.

        Args:
            losses: Of the triplets, with their graph. Shape: ``(n * B,)``.
            positive: Scores of the items. Shape: ``(n * B,)``.
            negative: Scores of the negative items. Shape: ``(n * B,)``.

        Returns:
            The loss, or None for the backbone's own. Shape: ``()``.
        """
        raise NotImplementedError

    def _train_epoch(
        self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False
    ) -> Any:
        return super()._train_epoch(train_data, epoch_idx, self._combined_loss, show_progress)

    def _combined_loss(self, interaction: Any) -> Any:
        self._batch, self.criterion.combine = interaction, self._checked
        try:
            return self.model.calculate_loss(interaction)
        finally:
            self._batch = self.criterion.combine = None

    def _checked(self, losses: Tensor, *scores: Tensor) -> Tensor | None:
        if losses.shape != self._batch[self.config["USER_ID_FIELD"]].shape:
            raise OptionError(
                "backbone",
                self.config["model"],
                f"{tuple(losses.shape)} losses for {len(self._batch)} triplets",
            )
        return self.combine(losses, *scores)


class Factors:
    r"""A backbone's scores as products :math:`p_u \cdot q_i`.

    Attributes:
        users: :math:`P`, padding included. Shape: ``(n_users, d)``.
        items: :math:`Q`, padding included. Shape: ``(n_items, d)``.
        live: Whether they are the parameters themselves, and so move with each step.
    """

    def __init__(self, users: Tensor, items: Tensor, live: bool) -> None:
        self.users, self.items, self.live = users, items, live


def factors(model: Any) -> Factors:
    r"""Read a backbone's factors off its tables, or off one pass over its graph.

    Of NeuMF those of its matrix factorisation: :math:`p_u \odot h` and :math:`q_i` with the output
    layer's weights h; the layers of its other half are no product.

    Args:
        model: One of :data:`BACKBONES`, or a model with embedding tables ``user_embedding`` and
            ``item_embedding`` whose product scores, or with a ``forward()`` that gives both.

    Raises:
        OptionError: If the model has neither.
    """
    if isinstance(model, NeuMF):
        size = model.mf_embedding_size
        h = model.predict_layer.weight.detach()[0, :size]
        users = model.user_mf_embedding.weight.detach() * h
        return Factors(users, model.item_mf_embedding.weight.detach(), live=False)
    found = _propagated(model) or _tables(model)
    if found is None or found[0].shape[1] != found[1].shape[1]:
        raise OptionError(
            "backbone", type(model).__name__, "has no user and item vectors whose product scores"
        )
    return Factors(*found)


def _tables(model: Any) -> tuple[Tensor, Tensor, bool] | None:
    users, items = (table_called(model, f"{kind}_embedding") for kind in ("user", "item"))
    if users is None or items is None:
        return None
    return users.weight.detach(), items.weight.detach(), True


def _propagated(model: Any) -> tuple[Tensor, Tensor, bool] | None:
    """What ``forward()`` of a graph model gives; leaves mode and random numbers as they were."""
    if getattr(type(model), "forward", None) is torch.nn.Module.forward:
        return None  # it has none
    parameters = inspect.signature(model.forward).parameters.values()
    if any(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters):
        return None  # it scores pairs
    training = model.training
    model.eval()
    with torch.no_grad(), kept_random_state():
        out = model.forward()
    model.train(training)
    shapes = [getattr(part, "shape", (0,))[0] for part in out[:2]]
    return (out[0], out[1], False) if shapes == [model.n_users, model.n_items] else None
