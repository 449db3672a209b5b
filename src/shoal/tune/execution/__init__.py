"""Resources and execution of trials."""
