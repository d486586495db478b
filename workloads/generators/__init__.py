"""The parts of a synthetic workload: when jobs arrive, how long they take, how the rest is mixed."""
