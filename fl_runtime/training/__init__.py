"""Tasks, models, jobs, and what one client does with a job."""
