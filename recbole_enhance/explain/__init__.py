"""Attacks on finished runs, and explanations of their recommendations."""
