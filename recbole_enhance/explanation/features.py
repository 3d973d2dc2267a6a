"""The verb ``explain``: which features explain a run's recommendations, and how well.

CER names features whose weakening would take the item off the list; EFM features that the user
cares for and the item does well on. The table always holds what needs no model at all.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.explanation.pairs import PAIRS
from recbole_enhance.explanation.quality import (
    Measured,
    Protocol,
    UnsuitableModelError,
    baselines,
    measure,
    summary,
)
from recbole_enhance.explanation.robustness import TRUTHS, make_protocol
from recbole_enhance.explanation.words import checked_options, one_folder, one_of, table
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.model.feature_aware import FeatureAwareRecommender
from recbole_enhance.storage.run_folder import RunFolder

JSONL, JSON = "explanations.jsonl", "explanations.json"
_DEFAULTS: dict[str, Any] = {
    "pairs": "auto",
    "truth": "positive",
    "topk": 5,
    "features": 5,
    "negatives": 100,
    "show": 5,
    "quiet": False,
}
PROTOCOL = ("pairs", "truth", "topk", "features", "negatives")
_SHOWN = (
    "precision",
    "recall",
    "f1",
    "f1_explained",
    "feature_ndcg",
    "coverage",
    "size",
    "pn",
    "ps",
    "f_ns",
)
_SENTENCES = {
    "CER": "{item} would not be in the list of {user} if it did worse on {features}",
    "EFM": "{user} might like {item}, which does well on {features}",
}
_SENTENCE = "{item} was recommended to {user} for {features}"  # of a model of the user's own


def main(words: Sequence[str]) -> int:
    """Explain the recommendations of a run.

    Args:
        words: The run's folder and options, see ``recbole-enhance --help``.

    Raises:
        ValueError: If the folder or an option says no, or the model has no features.
    """
    folder, options = one_folder(words, _DEFAULTS)
    options = checked(options)
    run, rows, lines = explain_run(folder, options)
    if not options["quiet"]:
        _print(run, rows, lines, options["show"])
        print(f"explanations: {folder / JSONL}")
    return 0


def checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults of options that were given, and refuse what is none of them.

    Args:
        options: Of the verb, as text or as YAML has them.

    Raises:
        InputError: Naming the option, the value and what is allowed.
    """
    known = checked_options(options, _DEFAULTS)
    one_of("pairs", known["pairs"], ("auto", *PAIRS))
    one_of("truth", known["truth"], TRUTHS)
    return known


def explain_run(
    folder: Path, options: Mapping[str, Any], model_class: str | None = None
) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Explain one run, and write ``explanations.json`` and ``explanations.jsonl`` into its folder.

    Args:
        folder: The run's folder.
        options: From :func:`checked`.
        model_class: As for :func:`~recbole_enhance.experiment.quick_start.load_run`.

    Returns:
        The run, the quality of its explanations and of those that need no model, and the
        explanations.

    Raises:
        UnsuitableModelError: If the model has no item features.
    """
    run = load_run(folder, model_class)
    model = run.trainer.model
    if not isinstance(model, FeatureAwareRecommender):
        able = [m for m in MODELS if issubclass(load_model(m), FeatureAwareRecommender)]
        raise UnsuitableModelError(
            f"{folder}: {run.config['label']} has no item features to explain by; "
            f"models that have: {', '.join(able)}"
        )
    pairs = None if options["pairs"] == "auto" else options["pairs"]
    protocol = make_protocol(
        run, options["topk"], options["features"], pairs, options["truth"], options["negatives"]
    )
    assert protocol.pairs is not None
    with tqdm(
        total=len(protocol.pairs.user),
        desc="explain",
        unit="pair",
        disable=True if options["quiet"] else None,
        dynamic_ncols=True,
    ) as bar:
        measured = measure(model, protocol, bar.update)
    rows = {run.config["label"]: summary(measured), **baselines(run, protocol)}
    lines = explanations(run, protocol, measured)
    files = RunFolder.open(folder)
    files.write_jsonl(JSONL, lines)
    kept = {key: options[key] for key in PROTOCOL}
    files.write_json(JSON, {"pairs": len(lines), "protocol": kept, "quality": rows})
    return run, rows, lines


def explanations(run: Any, protocol: Protocol, measured: Measured) -> list[dict[str, Any]]:
    """One entry per pair, in the user's own tokens.

    Args:
        run: A run of a feature-aware model.
        protocol: What was explained.
        measured: The explanations.

    Returns:
        ``user``, ``item``, ``features`` (name and weight, best first; empty where there is no
        explanation), ``mentioned`` (the truth), and ``sentence`` (None without explanation).
    """
    dataset, pairs = run.test_data._dataset, protocol.pairs
    assert pairs is not None
    assert measured.ranking is not None
    assert measured.weight is not None
    assert protocol.truth is not None
    names = run.train_data._dataset.feature_names
    users = dataset.id2token(dataset.uid_field, pairs.user.numpy())
    items = dataset.id2token(dataset.iid_field, pairs.item.numpy())
    lines = []
    # Written one by one: a file for people is a list of sentences.
    for number, (user, item) in enumerate(zip(users, items)):
        columns = [c for c in measured.ranking[number].tolist() if c >= 0]
        weights = measured.weight[number]
        top = ", ".join(names[c] for c in columns[: protocol.n_features])
        form = _SENTENCES.get(run.config["model"], _SENTENCE)
        sentence = form.format(user=user, item=item, features=top)
        lines.append(
            {
                "user": str(user),
                "item": str(item),
                "features": [
                    {"feature": names[c], "weight": round(float(weights[c]), 6)} for c in columns
                ],
                "mentioned": [names[c] for c in protocol.truth[number].nonzero().flatten()],
                "sentence": sentence if columns else None,
            }
        )
    return lines


def _print(run: Any, rows: dict[str, Any], lines: list[dict[str, Any]], show: int) -> None:
    shown = [key for key in _SHOWN if any(key in row for row in rows.values())]
    print(
        f"{run.config['label']} on {run.config['dataset']}: {len(lines)} pairs explained; "
        "a missing explanation counts 0"
    )
    body = [[name, *(row.get(key) for key in shown)] for name, row in rows.items()]
    print(table(["explanation", *shown], body))
    for line in [line for line in lines if line["sentence"]][:show]:
        print(f"  {line['sentence']} (the review mentions: {', '.join(line['mentioned']) or '-'})")
