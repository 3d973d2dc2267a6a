"""The verb ``export``: the vectors of a run, for other programs."""

from recbole_enhance.cli.command import (
    OWN_CLASS,
    OWN_FILES,
    QUIET,
    Option,
    Place,
    Verb,
    console,
    own_classes,
)
from recbole_enhance.cli.kinds import Kind, OneOf
from recbole_enhance.options.errors import InputError


def export(
    folder: str,
    quiet: bool,
    model: str | None,
    backbone: str | None,
    embeddings: str | None,
    index: str | None,
) -> None:
    """Write the vectors, and say what they are."""
    if embeddings is None:
        raise InputError("export: --embeddings=FILE is expected")
    with console(quiet):
        from recbole_enhance.experiment.quick_start import finished_run
        from recbole_enhance.recommendation.export import export as write

        finished_run(folder)
        classes = own_classes(folder, model, backbone)
        found = write(folder, embeddings, index, **classes, quiet=quiet)
        if quiet:
            return
        kind = "their product is the score" if found.is_score else "their product is not the score"
        bias = "; the last number of an item is its bias" if found.bias else ""
        print(
            f"{len(found.users)} users and {len(found.items)} items, "
            f"{found.item_vectors.shape[1]} numbers each: {kind}{bias}"
        )
        print(f"embeddings: {embeddings}")


EXPORT = Verb(
    "export",
    callback=export,
    params=[
        Place("folder", "RUN_DIR", "the folder of a run"),
        Option("embeddings", Kind("FILE"), "file for the vectors, .npz or .parquet"),
        Option("index", OneOf(("hnsw",)), "also write an index of the items for hnswlib (.hnsw)"),
        *OWN_CLASS,
        OWN_FILES,
        QUIET,
    ],
    help="Write the vectors of users and items of a run. If scores are products of two vectors, "
    "these vectors are written.",
    example="recbole-enhance export runs/bpr --embeddings=bpr.npz --index=hnsw",
)
