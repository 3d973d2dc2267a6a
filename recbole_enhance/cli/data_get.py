"""The verb ``data get``: public data sets by name."""

from recbole_enhance.cli.command import OWN_FILES, QUIET, Option, Place, Verb
from recbole_enhance.cli.kinds import Kind, YesNo
from recbole_enhance.options.errors import InputError


def get(
    name: str | None,
    list: bool,
    out: str,
    cache: str | None,
    archive: str | None,
    with_items: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Get a set, or list them."""
    from recbole_enhance.data.public_sets import get_data, listed

    if list:
        print("\n".join(listed()))
        return
    if name is None:
        raise InputError("data get: NAME is missing; --list names the sets")
    made = get_data(
        name,
        out,
        cache=cache,
        archive=archive,
        with_items=with_items,
        overwrite=overwrite,
        quiet=quiet,
    )
    if not quiet:
        print("\n".join(made.lines()))


GET = Verb(
    "get",
    callback=get,
    params=[
        Place("name", "NAME", "name of a public data set, as --list shows them", required=False),
        Option("list", YesNo(), "list the sets and download nothing", default=False),
        Option("out", Kind("FOLDER"), "folder that contains the datasets", default="dataset"),
        Option("cache", Kind("FOLDER"), "folder for downloaded files [the user's cache]"),
        Option("archive", Kind("FILE"), "a downloaded file or folder, used instead of downloading"),
        Option(
            "with_items",
            YesNo(),
            "also download the table of items where it is a large file of its own",
            default=False,
        ),
        Option("overwrite", YesNo(), "replace a dataset of this name", default=False),
        OWN_FILES,
        QUIET,
    ],
    help="Download a public dataset and convert it. Each file is downloaded once, a download that "
    "was interrupted continues, and a file with an unexpected hash is refused.",
    example="""\
recbole-enhance data get --list
recbole-enhance data get ml-1m
recbole-enhance data get yelp --archive=yelp_dataset.tar""",
)
