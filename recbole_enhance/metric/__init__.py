"""Metrics as pure functions of tensors: one definition for evaluation, reward and leaderboard."""
