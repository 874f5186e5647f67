"""Kernels of alpha-fair allocation: routing, capacities and prices in, rates out."""
