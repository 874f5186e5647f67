"""Reports of runs: summaries, claim results, tables, plots, and the page of results."""
