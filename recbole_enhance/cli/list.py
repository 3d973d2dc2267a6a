"""The verb ``list``: methods and models."""

from recbole_enhance.cli.command import Verb


def show() -> None:
    """Print the methods and models."""
    from recbole_enhance.experiment.names import list_methods, list_models

    print("methods:")
    for name, about in list_methods():
        print(f"  {name:<8} {about}")
    print("models:")
    for family, names in list_models().items():
        print(f"  {family}: {', '.join(names)}")


LIST = Verb(
    "list",
    callback=show,
    help="Show the methods and models, also of other packages.",
    example="recbole-enhance list",
)
