"""The verb ``list``: methods and models."""

from recbole_enhance.cli.command import Verb


def show() -> None:
    """Print the methods and models."""
    from recbole_enhance.enhancer import ENHANCERS, load_enhancer
    from recbole_enhance.experiment.config import recbole_models
    from recbole_enhance.model import MODELS

    print("methods:")
    for name in ENHANCERS:
        print(f"  {name:<8} {load_enhancer(name).paper}")
    print("models:")
    families: dict[str, list[str]] = {"ours": list(MODELS)}
    for spelled, module in recbole_models().values():
        families.setdefault(module.split(".")[2].replace("_recommender", ""), []).append(spelled)
    for family, names in families.items():
        print(f"  {family}: {', '.join(sorted(names))}")


LIST = Verb(
    "list",
    callback=show,
    help="Show the methods, our models and RecBole's.",
    example="recbole-enhance list",
)
