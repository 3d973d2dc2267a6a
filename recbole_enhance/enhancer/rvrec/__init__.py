"""RVRec, Shapley-weighted histories (arXiv 2509.03130): ``method`` puts it together."""
