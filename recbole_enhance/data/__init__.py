"""Reading, checking, splitting and batching of data, beside what RecBole does."""
