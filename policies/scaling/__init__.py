"""How many nodes or replicas there are: one policy a file."""
