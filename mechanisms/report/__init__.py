"""Tables and pictures of auctions, audits and studies."""
