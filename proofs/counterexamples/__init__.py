"""Plausible rules that are wrong, each with the smallest instance we know."""
