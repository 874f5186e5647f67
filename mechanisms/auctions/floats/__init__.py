"""Float forms: sorted stretches of asks, and the steps that several float rules share."""
