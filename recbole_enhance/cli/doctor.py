"""The verb ``doctor``: whether RecBole works here."""

from recbole_enhance.cli.command import Verb


def examine() -> int:
    """Print what was found."""
    from recbole_enhance.compat import doctor

    return doctor.main()


DOCTOR = Verb(
    "doctor",
    callback=examine,
    help="Show what works here. Versions, what was mended for them, and what cannot run.",
    example="recbole-enhance doctor",
)
