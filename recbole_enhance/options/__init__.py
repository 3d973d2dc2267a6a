"""Options as data: read, merged, checked."""
