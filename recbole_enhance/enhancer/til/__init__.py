"""TIL, triplet importance learning (arXiv 2208.01709): ``method`` puts it together."""
