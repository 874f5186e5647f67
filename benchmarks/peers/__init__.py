"""One round of federated averaging as other projects do it, on the same clients."""
