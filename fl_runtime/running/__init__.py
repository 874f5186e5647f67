"""One run: built from a configuration, executed round by round, recorded, resumed."""
