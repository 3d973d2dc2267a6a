"""Shapley values: exact truths of small games, and networks whose values are exact."""
