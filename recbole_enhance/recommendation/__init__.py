"""Lists of a finished run for known and new users, and the vectors of users and items."""
