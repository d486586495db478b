"""Which job gets how many GPUs: one policy a file."""
