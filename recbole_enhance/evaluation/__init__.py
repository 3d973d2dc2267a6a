"""Ranking, collecting and measuring, and the files of a result."""
