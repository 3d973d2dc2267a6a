"""DVR, explainable data valuation (arXiv 2502.08685): ``method`` puts it together."""
