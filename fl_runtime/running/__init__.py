"""One run: built from a configuration, looped, written down, resumed."""
