"""Tables, JSON records and pictures of auctions, audits and studies.

`tables` reads bids from CSV files and shows auctions and audits, `plots` draws them, and `studies`
does both for the studies.
"""
