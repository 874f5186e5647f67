"""What the federated algorithms do to delays, weights and updates, on small models of them."""
