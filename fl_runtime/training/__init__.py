"""Tasks, models, jobs, and the local training of one client."""
