"""The training loop, losses, and what makes them fast."""
