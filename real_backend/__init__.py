"""A cluster in wall time: the simulator's policies on real torch.distributed jobs."""
