"""RecBole 1.2.1 on the packages of today."""
