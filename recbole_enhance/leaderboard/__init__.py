"""Boards of runs: many cells run, and pages built from their folders."""
