"""The parts of one training step: its losses, its graph, gradient rows, and what is written."""
