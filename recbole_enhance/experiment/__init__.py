"""One run: its settings, its story, and running it again."""
