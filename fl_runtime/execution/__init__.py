"""Executors: jobs go in, updates come out."""
