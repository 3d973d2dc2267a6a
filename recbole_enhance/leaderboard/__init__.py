"""Boards of runs: many cells run, and pages built from their folders."""

# Places in a board's folder.
BOARD, CELLS, TUNING, PLOTS = "board.yaml", "cells", "tuning", "plots"
FAILURE = "failure.json"  # in place of a run
