"""Data as they lie on disk and as the methods need them beside RecBole's own."""
