"""Which features explain a run's recommendations, and how well.

CER names features whose weakening would take the item off the list; EFM features that the user
cares for and the item does well on. The table always holds what needs no model at all.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_enhance.experiment.quick_start import load_run
from recbole_enhance.experiment.titles import names_of
from recbole_enhance.explanation.quality import (
    Measured,
    Protocol,
    UnsuitableModelError,
    assess,
    baselines,
    summary,
)
from recbole_enhance.explanation.robustness import make_protocol
from recbole_enhance.explanation.words import ExplainOptions, filled, table, tell_few
from recbole_enhance.model import MODELS, load_model
from recbole_enhance.model.feature_aware import FeatureAwareRecommender
from recbole_enhance.storage import log_lines
from recbole_enhance.storage.run_folder import RunFolder

JSONL, JSON = "explanations.jsonl", "explanations.json"
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
    "CER": "{item} would not be in the list of user {user} if it did worse on {features}",
    "EFM": "User {user} might like {item}, which does well on {features}",
}
_SENTENCE = "{item} was recommended to user {user} for {features}"  # of a model of the user's own


def explain(
    run_dir: str | Path,
    pairs: str = "auto",
    truth: str = "positive",
    topk: int = 5,
    features: int = 5,
    negatives: int = 100,
    show: int = 5,
    title: str = "auto",
    model_class: str | type | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Explain the recommendations of a run, and judge the explanations.

    Args:
        run_dir: Its folder.
        pairs: ``hits``, ``test`` or ``auto``, see :func:`~.robustness.make_protocol`.
        truth: Of :data:`~.words.TRUTHS`.
        topk: Length of the list.
        features: Features per explanation.
        negatives: Sampled candidates per user.
        show: How many sentences are printed.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.
        model_class: As of :func:`.explain.explain`.
        quiet: Print nothing.

    Returns:
        As :func:`explanations`; also in ``explanations.jsonl``, their quality in
        ``explanations.json``.

    Raises:
        InputError: If the folder or an option says no, or the model has no features.
    """
    options = {
        "pairs": pairs,
        "truth": truth,
        "topk": topk,
        "features": features,
        "negatives": negatives,
    }
    run, rows, lines = explain_run(run_dir, options, model_class, quiet, title)
    if not quiet:
        _print(run, rows, lines, show)
        print(f"explanations: {Path(run_dir) / JSONL}")
    return lines


def explain_run(
    run_dir: str | Path,
    options: Mapping[str, Any],
    model_class: str | type | None = None,
    quiet: bool = False,
    title: str = "auto",
) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """Explain one run and write the files, as :func:`explain` does, but print nothing.

    Args:
        run_dir: Its folder.
        options: Of :class:`~.words.ExplainOptions`.
        model_class: As of :func:`explain`.
        quiet: Show no progress.
        title: As of :func:`explain`.

    Returns:
        The run, the quality of its explanations and of those that need no model, and the
        explanations.

    Raises:
        InputError: If the folder or an option says no.
        UnsuitableModelError: If the model has no item features.
    """
    protocol = filled(ExplainOptions, options)
    run = load_run(run_dir, model_class)
    model = run.trainer.model
    if not isinstance(model, FeatureAwareRecommender):
        able = [m for m in MODELS if issubclass(load_model(m), FeatureAwareRecommender)]
        raise UnsuitableModelError(
            run_dir,
            f"{run.config['label']} has no item features to explain by; "
            f"models that have: {', '.join(able)}",
        )
    judged = make_protocol(run, **protocol)
    assert judged.pairs is not None
    with tqdm(
        total=len(judged.pairs.user),
        desc="explain",
        unit="pair",
        disable=True if quiet else None,
        dynamic_ncols=True,
    ) as bar:
        measured = assess(model, judged, bar.update)
    rows = {run.config["label"]: summary(measured), **baselines(run, judged)}
    lines = explanations(run, judged, measured, title)
    tell_few(run.config["label"], len(lines), rows[run.config["label"]]["coverage"])
    folder = RunFolder.open(run_dir)
    folder.write_jsonl(JSONL, lines)
    folder.write_json(JSON, {"pairs": len(lines), "protocol": protocol, "quality": rows})
    return run, rows, lines


def explanations(
    run: Any, protocol: Protocol, measured: Measured, title: str = "auto"
) -> list[dict[str, Any]]:
    """One entry per pair, in the user's own tokens.

    Args:
        run: A run of a feature-aware model.
        protocol: What was explained.
        measured: The explanations.
        title: Column of the ``.item`` file, see :func:`~.experiment.titles.names_of`.

    Returns:
        ``user``, ``item``, ``title``, ``features`` (name and weight, best first; empty where there
        is no explanation), ``mentioned`` (the truth), and ``sentence`` (None without explanation).
    """
    dataset, pairs = run.test_data._dataset, protocol.pairs
    assert pairs is not None
    assert measured.ranking is not None
    assert measured.weight is not None
    assert protocol.truth is not None
    names = run.train_data._dataset.feature_names
    users = dataset.id2token(dataset.uid_field, pairs.user.numpy())
    items = dataset.id2token(dataset.iid_field, pairs.item.numpy())
    _, titles = names_of(run, title, pairs.item)
    lines = []
    # Written one by one: a file for people is a list of sentences.
    for number, (user, item) in enumerate(zip(users, items)):
        columns = [c for c in measured.ranking[number].tolist() if c >= 0]
        weights = measured.weight[number]
        top = ", ".join(names[c] for c in columns[: protocol.n_features])
        form = _SENTENCES.get(run.config["model"], _SENTENCE)
        name = titles[int(pairs.item[number])]
        sentence = form.format(user=user, item=name, features=top)
        lines.append(
            {
                "user": str(user),
                "item": str(item),
                "title": name,
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
        mentions = ", ".join(line["mentioned"]) or "-"
        log_lines.show(f"  {line['sentence']} (the review mentions: {mentions})")
