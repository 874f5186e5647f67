"""Clients, rates and budgets shared fairly."""
