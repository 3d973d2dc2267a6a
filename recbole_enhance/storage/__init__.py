"""Folders, files, locks and resources of a run."""
