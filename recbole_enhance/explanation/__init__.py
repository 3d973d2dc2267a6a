"""Why an item was recommended, and how robust the explanation is."""
