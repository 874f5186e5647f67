"""Exact forms: rankings, offers and integers in which rules are written for fractions."""
