"""The verbs ``data``: make datasets, and check them."""

from recbole_enhance.cli.command import Verbs
from recbole_enhance.cli.data_check import CHECK
from recbole_enhance.cli.data_get import GET
from recbole_enhance.cli.data_import import IMPORT

DATA = Verbs(
    "data",
    help="Make datasets from your own tables, or from public ones, and check them.",
    commands=[IMPORT, CHECK, GET],
)
