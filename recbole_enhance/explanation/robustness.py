"""White-box attacks on a finished run: what they do to its lists and its explanations.

``features``: item features move along the sign of the loss's gradient over all training batches;
``params``: parameters do; the random controls move as far in random directions. The pairs are
fixed from the clean model, and the model is restored bitwise, also on failure.

``own`` moves parameters along the gradient of the loss that the run trained on: a defended model is
not at a minimum of the clean loss, so the gradient of that one hits it harder than others.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from recbole.utils import ModelType, init_seed
from torch import Tensor

from recbole_enhance.data.mentions import truth_matrix
from recbole_enhance.enhancer.rer import RERTrainer, total
from recbole_enhance.explanation.pairs import (
    candidates_of,
    choose_pairs,
    score_candidates,
)
from recbole_enhance.explanation.quality import (
    Measured,
    Protocol,
    UnsuitableModelError,
    assess,
    summary,
)
from recbole_enhance.explanation.words import TARGETS
from recbole_enhance.model.feature_aware import FeatureAwareRecommender
from recbole_enhance.training.perturbation import moved_parameters, random_signs, replaced_features

_FEATURE_BUDGETS = (0.25, 0.5, 0.75, 1.0)
_PARAMETER_BUDGETS = {"CER": (0.0025, 0.005, 0.01), "EFM": (0.05, 0.1, 0.25)}
_OTHER_BUDGETS = (0.005, 0.01, 0.02, 0.05)  # of models with embeddings of 64 numbers


class Attack(NamedTuple):
    """One attack.

    Attributes:
        target: ``features``, ``params`` or ``own``.
        budget: Largest change of any entry.
        random: Whether directions are drawn at random.
    """

    target: str
    budget: float
    random: bool

    @property
    def name(self) -> str:
        """As in the table."""
        return f"random {self.target}" if self.random else self.target


class Gradients(NamedTuple):
    """Of the clean loss, summed over the training batches.

    Attributes:
        features: With respect to Y; None without features. Shape: ``(n_items, F)``.
        params: By the parameter's name.
        own: The same of the loss that the run trained on.
    """

    features: Tensor | None
    params: dict[str, Tensor]
    own: dict[str, Tensor]


def make_protocol(
    run: Any,
    pairs: str = "auto",
    truth: str = "positive",
    topk: int = 5,
    features: int = 5,
    negatives: int = 100,
) -> Protocol:
    """Fix candidates, pairs and truth of a run from its clean model.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        pairs: ``hits``, ``test``, or ``auto``: hits for CER, test for EFM, whose lists hit little.
        truth: ``positive``: features that the test review praises; ``all``: that it mentions.
        topk: Length of the recommended list.
        features: Features per explanation that are judged.
        negatives: Sampled candidates per user.

    Raises:
        UnsuitableModelError: If the model cannot be judged so.
        ValueError: If the run cannot.
    """
    model, seed = run.trainer.model, run.config["seed"]
    if run.config["MODEL_TYPE"] != ModelType.GENERAL:
        raise UnsuitableModelError(
            run.config["label"], "only general models rank pairs of user and item"
        )
    candidates = candidates_of(run, negatives, seed)
    if not isinstance(model, FeatureAwareRecommender):
        return Protocol(candidates, None, None, topk, features, seed)
    automatic = "hits" if run.config["model"] == "CER" else "test"
    which = automatic if pairs == "auto" else pairs
    chosen = choose_pairs(candidates, score_candidates(model, candidates), which, topk)
    if not len(chosen.user):
        raise ValueError(
            f"pairs={which}: no test item is in any list of {topk}; --pairs=test uses all of them"
        )
    mentions = run.test_data._dataset.mentions
    true = truth_matrix(
        mentions, chosen.user, chosen.item, model.n_items, model.n_features, truth == "positive"
    )
    return Protocol(candidates, chosen, true, topk, features, seed)


def training_gradients(run: Any) -> Gradients:
    """Gradients of the loss over all training batches, in evaluation mode (no dropout).

    Args:
        run: A run. Its random states are set to the seed first, so that batches and negatives are
            the same in each call.

    Raises:
        UnsuitableModelError: If nothing can be moved.
    """
    model, trainer, config = run.trainer.model, run.trainer, run.config
    init_seed(config["seed"], config["reproducibility"])
    run.train_data.generator.manual_seed(config["seed"])
    run.train_data.get_model(model)  # for negatives that are chosen by their score
    model.eval()
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    if not names:
        raise UnsuitableModelError(
            config["label"], "has no parameters that are trained by gradients"
        )
    parameters = [dict(model.named_parameters())[name] for name in names]
    clean, own = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    aware = isinstance(model, FeatureAwareRecommender)
    features = torch.zeros_like(model.item_feature_matrix) if aware else None
    defended = isinstance(trainer, RERTrainer) and trainer.lam > 0 and trainer.eps > 0
    for batch in run.train_data:
        batch = batch.to(config["device"])
        leaf = None
        if features is not None:
            leaf = model.item_features(batch[model.ITEM_ID]).detach().requires_grad_()
            loss = total(model.calculate_loss(batch, leaf))
        else:
            loss = total(model.calculate_loss(batch))
        gradient = _add_gradients(clean, loss, parameters, leaf)
        if features is not None and gradient is not None:
            features.index_add_(0, batch[model.ITEM_ID], gradient)
        if defended:
            loss = total(trainer.adversarial_loss(model.calculate_loss, batch))
            _add_gradients(own, loss, parameters, None)
    return Gradients(
        features, dict(zip(names, clean)), dict(zip(names, own if defended else clean))
    )


def _add_gradients(
    sums: list[Tensor], loss: Tensor, parameters: list[Any], leaf: Tensor | None
) -> Tensor | None:
    """Add the parameters' gradients to ``sums``, and return that of ``leaf``."""
    leaves = parameters if leaf is None else [*parameters, leaf]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    for sum_, gradient in zip(sums, found):
        if gradient is not None:
            sum_ += gradient
    return None if leaf is None else found[-1]


@contextlib.contextmanager
def attacked(model: Any, attack: Attack, gradients: Gradients, seed: int) -> Iterator[None]:
    """Let the model be under attack while the block runs; afterwards it is what it was, bitwise.

    Args:
        model: The model.
        attack: Which one. A budget of 0 changes nothing.
        gradients: From :func:`training_gradients`.
        seed: Of the random directions.
    """
    generator = torch.Generator().manual_seed(seed)
    block: contextlib.AbstractContextManager[None]
    if attack.target == "features":
        clean, gradient = model.item_feature_matrix, gradients.features
        assert gradient is not None
        delta = attack.budget * gradient.sign()
        if attack.random:
            delta = random_signs(clean.shape, attack.budget, generator).to(clean)
        moved = (clean + delta).clamp(0, model.feature_scale)
        moved[0] = 0  # padding is no item
        block = replaced_features(model, moved)
    else:
        change = {
            name: random_signs(g.shape, attack.budget, generator)
            if attack.random
            else attack.budget * g.sign()
            for name, g in (gradients.own if attack.target == "own" else gradients.params).items()
        }
        block = moved_parameters(model, change)
    with block:
        yield


def plan(
    run: Any,
    targets: Sequence[str],
    budgets: Sequence[float] | None,
    param_budgets: Sequence[float] | None,
) -> list[Attack]:
    """Attacks of a run.

    Args:
        run: A run.
        targets: Of :data:`~.words.TARGETS`; ``random`` adds a control to ``features`` and
            ``params``.
        budgets: Of ``features``; None for the paper's.
        param_budgets: Of ``params``; None for what suits the model.

    Raises:
        UnsuitableModelError: If the model has no item features, and only they are asked for.
    """
    aware = isinstance(run.trainer.model, FeatureAwareRecommender)
    label = run.config["label"]
    if not aware and "features" in targets and not {"params", "own"} & set(targets):
        raise UnsuitableModelError(label, "has no item features to attack; --targets=params works")
    own = _PARAMETER_BUDGETS.get(run.config["model"], _OTHER_BUDGETS)
    sizes: dict[str, tuple[float, ...]] = {
        "features": tuple(budgets or _FEATURE_BUDGETS),
        "params": tuple(param_budgets or own),
    }
    sizes["own"] = sizes["params"]
    kinds = [t for t in TARGETS if t in targets and t in sizes and (aware or t != "features")]
    ways = (False, True) if "random" in targets else (False,)
    return [
        Attack(kind, size, way)
        for kind in kinds
        for way in ways
        for size in sizes[kind]
        if not (way and kind == "own")
    ]


def run_attacks(
    run: Any, attacks: Sequence[Attack], protocol: Protocol, progress: Any = None
) -> list[dict[str, Any]]:
    """Measure a run clean and under each attack, on the same pairs.

    Args:
        run: From :func:`~recbole_enhance.experiment.quick_start.load_run`.
        attacks: From :func:`plan`.
        protocol: From :func:`make_protocol`.
        progress: Called with the number of pairs explained.

    Returns:
        One row per attack, the clean one first: ``target``, ``budget`` and the means of
        :func:`~recbole_enhance.explanation.quality.summary`; attacked rows also ``f1_drop`` and
        ``ndcg_drop``, relative to clean.
    """
    model = run.trainer.model
    gradients = training_gradients(run)
    clean: Measured = assess(model, protocol, progress)
    rows: list[dict[str, Any]] = [{"target": "clean", "budget": 0.0, **summary(clean)}]
    for attack in attacks:
        with attacked(model, attack, gradients, protocol.seed):
            row = summary(assess(model, protocol, progress), clean)
        for name in ("f1", "ndcg"):
            before = rows[0].get(name)
            if before:
                row[f"{name}_drop"] = (before - row[name]) / before
        rows.append({"target": attack.name, "budget": attack.budget, **row})
    return rows
