"""Boards of runs: many cells run, and pages built from their folders."""

# Places in a board's folder.
BOARD, CELLS, TUNING, PLOTS = "board.yaml", "cells", "tuning", "plots"
SUBMITTED = "submitted"  # runs of outsiders
EXPLAIN, ATTACK = "explain", "attack"  # what may be done to finished runs
FAILED = "failed"  # what became of a cell, or of its explanation or attack
FAILURE = "failure.json"  # in place of a run
PLOTLY = EMBED, SHARED = "embed", "shared"  # where a page has plotly.js
