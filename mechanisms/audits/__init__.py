"""Can anybody gain by lying? Complete audits, searches, laws and proofs, for any auction."""
