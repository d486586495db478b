"""Names of the files that a live run's folder has beside those of a simulated run."""

JOURNAL = "journal.jsonl"  # what the controller did, for one that takes over
PROFILE = "profile.yaml"  # what its jobs' steps were counted by
STEPS = "steps.parquet"  # each step, and its loss
MOVES = "moves.parquet"  # each move, by stage
