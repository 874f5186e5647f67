"""Float forms: sorted stretches of bids, and the steps that several float rules share."""
