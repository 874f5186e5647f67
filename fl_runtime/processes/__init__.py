"""Work in processes of its own: forked ones, joblib's, or those of a Dask or Ray cluster."""
