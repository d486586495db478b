"""Finish-time fairness: how a job fared against having its own equal share of the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simulator.timeline import Timeline


def finish_time_fairness(jobs: Mapping[str, np.ndarray], timeline: Timeline) -> np.ndarray:
    """ρ = JCT / (time on a 1/N share of the cluster to itself), for finished jobs; shape (J,), above 1 is unfair.

    N is the mean number of active jobs, the cluster the mean number of ready GPUs, both over the time that the job
    was in the system, by exact integrals. On its share of GPUs a job runs at the speed of its size up to `max_gpus`,
    in proportion to the GPUs, fractions of one included.

    Source: Mahajan et al., Themis: Fair and Efficient GPU Cluster Scheduling, NSDI 2020. It differs in three ways:
    Themis reckons while a job goes on, from what it expects, and here the run is over and everything known; Themis
    counts apps of several jobs, here each job counts; and a job that can't use its whole share isn't charged for the
    rest, where Themis multiplies the time on the whole cluster by N.

    Args:
        jobs: columns of the table jobs, finished ones only.
    """
    submit_s, finish_s = jobs["submit_s"], jobs["finish_s"]
    jct_s = finish_s - submit_s
    active_s = timeline.active.integral_to(finish_s) - timeline.active.integral_to(submit_s)
    ready_gpu_s = timeline.ready.integral_to(finish_s) - timeline.ready.integral_to(submit_s)
    share_gpus = np.minimum(ready_gpu_s / active_s, jobs["max_gpus"])  # N is 1 or more: the job itself is active
    return jct_s * share_gpus / (jobs["duration_s"] * jobs["num_gpus"])
