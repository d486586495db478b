"""What is known of a sweep before its first run: whether the settings of its jobs can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from simulator.config import GROUPS, SERVING_GROUPS, CompareOptions, Setup, read_config
from simulator.errors import ConfigError
from simulator.manifests.scaled import described
from simulator.metric_names import check_metric
from workloads.options import nearest

_SEED = "seed"  # of which one value is as good as another
Overrides = Sequence[str]  # of one job, as OPTION=VALUE; all jobs' in the same order


def check_sweep(
    jobs: Sequence[Overrides], compose: Callable[[Overrides], Mapping[str, Any]], options: CompareOptions
) -> None:
    """Sees that the settings of `samples` can be, and that what compares the runs asks for what they will have.

    Args:
        compose: the settings of a job, as plain values.

    Raises:
        ConfigError, PolicyError, WorkloadError: settings that can't be.
    """
    _check_baseline(options.baseline, jobs)
    services: set[str] = set()
    for job in samples(jobs):
        services |= Setup(read_config(described(compose(job))[0])).service_names
    if options.after_sweep and jobs:
        check_metric("compare.x", options.x, services)
        check_metric("compare.y", options.y, services)


def samples(jobs: Sequence[Overrides]) -> list[Overrides]:
    """The first job, and those that differ from it in one option other than the seed: each value of each option once.

    Composing and checking a job takes about 0.1 s (180 jobs of experiment=cost_latency: 10 are looked at, in 1.4 s).
    """
    if not jobs:
        return []
    first = jobs[0]
    return [first, *(job for job in jobs if len(changed := _changed(job, first)) == 1 and changed[0] != _SEED)]


def first_labels(jobs: Sequence[Overrides]) -> Mapping[str, str]:
    """What is swept, and the value of each that is named first; the seed aside."""
    if not jobs:
        return {}
    swept = {key for job in jobs for key in _changed(job, jobs[0]) if key != _SEED}
    pairs = (override.lstrip("+").partition("=") for override in jobs[0])
    return {key.rpartition("@")[2]: value for key, _, value in pairs if key in swept}


def _check_baseline(baseline: Mapping[str, str], jobs: Sequence[Overrides]) -> None:
    """Sees that its labels are such as runs have. A value that no run has is no mistake: see `CompareOptions`."""
    known = {*GROUPS, *SERVING_GROUPS, "monitor", "experiment", *first_labels(jobs)}
    for label in baseline:
        if label not in known and "." not in label:
            raise ConfigError(f"compare.baseline.{label}: unknown label{nearest(label, known)}")


def _changed(job: Overrides, other: Overrides) -> list[str]:
    """The options that differ in two jobs."""
    return [mine.lstrip("+").partition("=")[0] for mine, theirs in zip(job, other, strict=True) if mine != theirs]
