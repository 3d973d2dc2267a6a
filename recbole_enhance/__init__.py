"""Paper methods that improve, explain and harden RecBole recommenders."""

__version__ = "0.1.0"
