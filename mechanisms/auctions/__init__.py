"""One rule per file; `exact` and `floats` hold steps that rules share, `kernels` compiled ones."""
