"""One file per method for flows with one path each; all work on `presolve.scaling.Scaled`."""
