"""The verbs ``data``: make datasets, and check them."""

from recbole_enhance.cli.command import Verbs
from recbole_enhance.cli.data_check import CHECK
from recbole_enhance.cli.data_get import GET
from recbole_enhance.cli.data_import import IMPORT

DATA = Verbs(
    "data",
    help="Make datasets from tables or public sets, and check them.",
    commands=[IMPORT, CHECK, GET],
)
