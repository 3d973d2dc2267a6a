"""Tuning of options: search spaces, a shared study, and reports."""
