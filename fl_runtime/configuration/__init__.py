"""The configuration: its schema, TOML files, and fingerprints of the inputs it names."""
