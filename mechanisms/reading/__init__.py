"""Bids from files and data frames: the one written form of bids, read in one place.

`bids` has `read_bids`; `headings` says which column has names and which are tasks, `csv_files` and
`frames` read cells, and `amounts` has numbers as people write them.
"""
