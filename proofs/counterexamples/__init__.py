"""Rules that look honest and are not, each with the smallest instance we know."""
