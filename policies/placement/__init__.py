"""On which nodes a job's GPUs are: one policy a file."""
