"""Flows that may split over several paths: problem, judges, and one file per method.

The public names are in `fairopt.path_allocation`. `solving` says which method goes first and gives
the status, `form.PathForm` is the problem without units that the methods work on, `unseen` looks
for what prices cannot show.
"""
