"""The auctions once more, over terms of the solver Z3, and proofs for all real bids."""
