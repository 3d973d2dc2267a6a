"""IaCN, interest capsules as an auxiliary task (arXiv 2308.09202): ``method`` puts it together."""
