"""Runs side by side: grouped by what was chosen, means over seeds with intervals, differences paired by seed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import starmap
from typing import Any

import numpy as np

from policies.registry import nearest
from simulator.errors import RunError
from simulator.run import Run

_SERVICES, _ROUTED = "services", "routed"  # in summary.json
_SPEAKING = ("instance", "purchase")  # options
MISSING = "–"  # of a label that a run doesn't have
CONFIDENCE = 0.95
_SERVED_ALIKE = 0.999  # of the share of requests that others serve: less is noted
_UNITS = ((4 * 86_400.0, 86_400.0, "days"), (3600.0, 3600.0, "h"), (180.0, 60.0, "minutes"))  # from, unit, name


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `num` seeds and half the width of its 95% confidence interval (Student's t); nan where unknown."""

    mean: float
    half_width: float
    num: int

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @classmethod
    def of(cls, values: np.ndarray) -> Estimate:
        """From one value a seed; those that are nan are left out, and with one there is no interval."""
        values = values[np.isfinite(values)]
        num = len(values)
        if not num:
            return cls(math.nan, math.nan, 0)
        if num == 1:
            return cls(float(values[0]), math.nan, 1)
        half_width = student_t(num - 1) * float(values.std(ddof=1)) / math.sqrt(num)
        return cls(float(values.mean()), half_width, num)


@cache
def student_t(degrees: int) -> float:
    """The 97.5% quantile of Student's t distribution."""
    from scipy.special import stdtrit  # slow to import

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


@dataclass(frozen=True)
class Group:
    """The runs of one row of a comparison: alike in `labels`."""

    labels: Mapping[str, str]
    runs: Mapping[int, Sequence[Run]]  # by seed, ascending; several of a seed where they differ in other labels

    @property
    def name(self) -> str:
        return " · ".join(starmap(spell_label, self.labels.items())) or "all runs"

    @property
    def all_runs(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs]

    def by_seed(self, metric: str) -> dict[int, float]:
        """A metric of summary.json (see `of_service` for those of a service), a seed.

        The mean where a seed has several runs.
        """
        return {seed: float(np.mean([_number(run, metric) for run in runs])) for seed, runs in self.runs.items()}

    def estimate(self, metric: str) -> Estimate:
        """The mean over seeds."""
        return Estimate.of(np.array(list(self.by_seed(metric).values())))

    def total(self, metric: str) -> int:
        """The sum over all runs, of a count."""
        return int(np.nansum([_number(run, metric) for run in self.all_runs]))

    @property
    def finished_frac(self) -> float:
        submitted = self.total("num_submitted")
        return self.total("num_finished") / submitted if submitted else math.nan


def services_of(run: Run) -> dict[str, Mapping[str, Any]]:
    """What summary.json says of services, by name: of those with sites as a whole, then of each."""
    return {**(run.summary.get(_ROUTED) or {}), **(run.summary.get(_SERVICES) or {})}


def sites_of(run: Run, name: str) -> list[str]:
    """The services in whose tables a service's requests are: itself, or its sites."""
    routed = (run.summary.get(_ROUTED) or {}).get(name)
    return [str(site) for site in routed["sites"].values()] if routed else [name]


def spell_label(name: str, value: str) -> str:
    """A policy or group by its name alone; an option such as `scaling.target` with its last part: `target=8`.

    What says by itself what it is needs no name: `spot`, `aws/us-east-1/p4d.24xlarge`.
    """
    group, _, option = name.rpartition(".")
    return f"{option}={value}" if group and option not in _SPEAKING else value


def of_service(name: str, metric: str) -> str:
    """How `Group` knows a metric of a service: `services.NAME.METRIC`, as it lies in summary.json."""
    return f"{_SERVICES}.{name}.{metric}"


def difference(group: Group, base: Group, metric: str) -> Estimate:
    """Mean of `group` − `base` over the seeds that both have: paired, since a seed means the same demand in both.

    Seeds whose jobs or requests differ in the two are left out. Pairing is what common random numbers are for: see Law,
    Simulation Modeling and Analysis, section 11.2.
    """
    mine, theirs = group.by_seed(metric), base.by_seed(metric)
    seeds = [seed for seed in mine if seed in theirs and _demand(group, seed) == _demand(base, seed)]
    return Estimate.of(np.array([mine[seed] - theirs[seed] for seed in seeds]))


@dataclass
class Comparison:
    """Groups in the order of their first run, what each is held against, and what a reader must know."""

    by: Sequence[str]
    groups: Sequence[Group]
    baselines: Sequence[Group | None]  # of each group; None: there is none, or it is one itself
    notes: list[str] = field(default_factory=list)

    @cached_property
    def num_seeds(self) -> int:
        """The fewest of any group."""
        return min(len(group.runs) for group in self.groups)

    @cached_property
    def has_jobs(self) -> bool:
        """Whether any run has jobs to train; else there is no JCT to tell."""
        return any(group.total("num_submitted") for group in self.groups) or not self.services

    @cached_property
    def services(self) -> list[str]:
        """The names of all services, in the order of the runs."""
        runs = (run for group in self.groups for run in group.all_runs)
        return list(dict.fromkeys(name for run in runs for name in services_of(run)))


def compare(
    runs: Iterable[Run],
    by: Sequence[str] | None = None,
    baseline: Mapping[str, str] | None = None,
    preferred: Sequence[Mapping[str, str]] = (),
) -> Comparison:
    """Groups runs and finds each group's baseline.

    Args:
        by: labels to group by; None takes those that differ.
        baseline: labels and values that mark the baseline; where several groups have them, each group is held against
            the one that it shares its other labels with. None: the first of `preferred`, else the first group.
        preferred: baselines of which the first that some group is gets taken; labels that are alike in all don't count.

    Raises:
        RunError: no runs, a label that no run has, or a baseline that no group is.
    """
    notes: list[str] = []
    kept = _without_duplicates(list(runs), notes)
    if not kept:
        raise RunError("no finished run to compare")
    labels = [flat_labels(run.labels) for run in kept]
    by = _differing(labels) if by is None else _checked(by, labels)
    groups = _grouped(kept, labels, by)
    baselines = _baselines(groups, _preferred(groups, preferred, notes) if baseline is None else baseline)
    _note_workloads(groups, kept, notes)
    _note_seeds(groups, notes)
    _note_averages(kept, labels, by, notes)
    _note_unfinished(groups, notes)
    comparison = Comparison(by, groups, baselines, notes)
    _note_unserved(comparison)
    return comparison


def unit_of(times_s: Iterable[float]) -> tuple[float, str]:
    """(seconds in it, its name): the unit in which these times are told side by side."""
    most_s = max((time_s for time_s in times_s if math.isfinite(time_s)), default=0.0)
    return next(((unit_s, unit) for from_s, unit_s, unit in _UNITS if most_s >= from_s), (1.0, "s"))


def fine_unit_of(times_s: Iterable[float]) -> tuple[float, str]:
    """The same for times that may be short: milliseconds below a second."""
    kept = [time_s for time_s in times_s if math.isfinite(time_s)]
    return (1e-3, "ms") if max(kept, default=0.0) < 1.0 else unit_of(kept)


def flat_labels(labels: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Labels as text, nested ones under dotted names; the seed is none."""
    flat: dict[str, str] = {}
    for name, value in labels.items():
        if isinstance(value, Mapping):
            flat |= flat_labels(value, f"{prefix}{name}.")
        elif name != "seed":
            text = value if isinstance(value, str) else json.dumps(value)
            flat[prefix + name] = MISSING if value is None or value == "" else text
    return flat


def _number(run: Run, metric: str) -> float:
    """A metric of a run, or with a dotted name one of a service; nan where there is none."""
    path, _, key = metric.rpartition(".")  # a service's name may have dots, a metric has none
    of = services_of(run).get(path.removeprefix(f"{_SERVICES}."), {}) if path else run.summary
    value = of.get(key)
    return math.nan if value is None else float(value)


def _demand(group: Group, seed: int) -> tuple[set[Any], set[Any]]:
    """What was asked of the runs of a seed: (jobs, requests); alike in two groups if they can be compared."""
    requests = set()
    for run in group.runs[seed]:
        sites = {site for name in run.summary.get(_ROUTED) or {} for site in sites_of(run, name)}  # how many: routing's
        came = {name: of.get("num_requests") for name, of in services_of(run).items() if name not in sites}
        requests.add(json.dumps(came, sort_keys=True))
    return {run.summary.get("workload_hash") for run in group.runs[seed]}, requests


def _seed(run: Run) -> int:
    return int(run.facts.get("seed") or 0)


def _without_duplicates(runs: list[Run], notes: list[str]) -> list[Run]:
    kept: dict[str, Run] = {}
    for run in runs:
        key = json.dumps([flat_labels(run.labels), _seed(run)], sort_keys=True)
        first = kept.setdefault(key, run)
        if first is not run:
            measures = ("workload_hash", "jct_mean_s", "cost_usd", "num_finished", _SERVICES)
            same = all(first.summary.get(name) == run.summary.get(name) for name in measures)
            why = "the same run twice" if same else "but other results: they differ in something that is no label"
            notes.append(f"{run.folder} is left out: same labels and seed as {first.folder} ({why})")
    return list(kept.values())


def _names(labels: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(name for each in labels for name in each))


def _differing(labels: Sequence[Mapping[str, str]]) -> list[str]:
    differ = [name for name in _names(labels) if len({each.get(name, MISSING) for each in labels}) > 1]
    return differ or [name for name in ("allocation", "scaling") if name in labels[0]]


def _checked(by: Sequence[str], labels: Sequence[Mapping[str, str]]) -> list[str]:
    for name in by:
        if name not in _names(labels):
            raise RunError(f"--by {name}: no run has this label: {nearest(name, _names(labels))}")
    return list(dict.fromkeys(by))


def _grouped(runs: Sequence[Run], labels: Sequence[Mapping[str, str]], by: Sequence[str]) -> list[Group]:
    members: dict[tuple[str, ...], dict[int, list[Run]]] = {}
    for run, mine in zip(runs, labels, strict=True):
        key = tuple(mine.get(name, MISSING) for name in by)
        members.setdefault(key, {}).setdefault(_seed(run), []).append(run)
    return [Group(dict(zip(by, key, strict=True)), dict(sorted(by_seed.items()))) for key, by_seed in members.items()]


def _preferred(
    groups: Sequence[Group], preferred: Sequence[Mapping[str, str]], notes: list[str]
) -> Mapping[str, str] | None:
    """The first of them that marks a group, without the labels that no group differs in."""
    for given in preferred:
        baseline = {name: value for name, value in given.items() if name in groups[0].labels}
        if baseline and any(_has(group, baseline) for group in groups):
            return baseline
        if baseline:
            wanted = ", ".join(starmap(spell_label, baseline.items()))
            notes.append(f"no row is {wanted}, which differences should be to: another takes its place")
    return None


def _has(group: Group, labels: Mapping[str, str]) -> bool:
    return all(group.labels[name] == value for name, value in labels.items())


def _baselines(groups: Sequence[Group], baseline: Mapping[str, str] | None) -> list[Group | None]:
    if baseline is None:
        marked = [groups[0]]
        baseline = groups[0].labels
    else:
        for name in baseline:
            if name not in groups[0].labels:
                raise RunError(f"--baseline {name}: not compared by: {nearest(name, groups[0].labels)}")
        marked = [group for group in groups if _has(group, baseline)]
        if not marked:
            wanted = ",".join(f"{name}={value}" for name, value in baseline.items())
            raise RunError(f"--baseline {wanted}: no such runs; there are {'; '.join(g.name for g in groups)}")
    found: list[Group | None] = []
    for group in groups:
        other = {name: value for name, value in group.labels.items() if name not in baseline}
        alike = [base for base in marked if all(base.labels[name] == value for name, value in other.items())]
        base = marked[0] if len(marked) == 1 else alike[0] if alike else None
        found.append(None if base is group else base)
    return found


def _note_workloads(groups: Sequence[Group], runs: Sequence[Run], notes: list[str]) -> None:
    for label, what in (("workload", "workloads"), ("requests", "requests")):
        names = list(dict.fromkeys(str(run.labels[label]) for run in runs if label in run.labels))
        if len(names) > 1:
            notes.append(f"the {what} differ ({', '.join(names)}): rows of different {what} can't be compared")
            return
    for seed in sorted({seed for group in groups for seed in group.runs}):
        of_seed = [group for group in groups if seed in group.runs]
        for part, what in enumerate(("jobs", "requests")):
            first = _demand(of_seed[0], seed)[part]
            other = [group.name for group in of_seed if _demand(group, seed)[part] != first]
            if other:
                notes.append(
                    f"the {what} of seed {seed} differ between {of_seed[0].name} and {', '.join(other)}: "
                    "these rows can't be compared"
                )
                return


def _note_seeds(groups: Sequence[Group], notes: list[str]) -> None:
    seeds = [set(group.runs) for group in groups]
    if max(map(len, seeds)) == 1:
        notes.append("one seed: no intervals; run several, as in seed=range(5), to tell a difference from chance")
    elif min(map(len, seeds)) == 1:
        names = ", ".join(group.name for group in groups if len(group.runs) == 1)
        notes.append(f"one seed only, hence no intervals: {names}")
    if any(mine != seeds[0] for mine in seeds):
        common = sorted(set.intersection(*seeds))
        spelt = ", ".join(map(str, common)) or "none"
        notes.append(f"not all rows have the same seeds (in all: {spelt}); differences are over those that two share")
    warmups = sorted({_number(run, "warmup_s") for group in groups for run in group.all_runs})
    if len(warmups) > 1:
        notes.append(f"the warm-ups differ ({', '.join(f'{value:g} s' for value in warmups)})")


def _note_averages(
    runs: Sequence[Run], labels: Sequence[Mapping[str, str]], by: Sequence[str], notes: list[str]
) -> None:
    also = [name for name in _differing(labels) if name not in by] if len(runs) > 1 else []
    also = [name for name in also if len({each.get(name, MISSING) for each in labels}) > 1]
    if also:
        notes.append(f"a row is the mean of runs that also differ in {', '.join(also)}")


def _note_unfinished(groups: Sequence[Group], notes: list[str]) -> None:
    most = max((group.finished_frac for group in groups if group.total("num_submitted")), default=math.nan)
    for group in groups:
        if group.finished_frac < most:
            age_s = group.estimate("jct_lower_bound_mean_s").mean
            bound = f"with the others until the end the mean is at least {age_s / 3600:,.3g} h"
            notes.append(
                f"{group.name} finished {group.total('num_finished'):,} of {group.total('num_submitted'):,} jobs, "
                f"fewer than others: its JCT leaves out the rest ({bound})"
            )


def _note_unserved(comparison: Comparison) -> None:
    for name in comparison.services:
        counts = [[group.total(of_service(name, each)) for each in ("num_served", "num_requests")]
                  for group in comparison.groups]  # fmt: skip
        most = max((served / came for served, came in counts if came), default=0.0)
        for group, (served, came) in zip(comparison.groups, counts, strict=True):
            if served < _SERVED_ALIKE * most * came:
                comparison.notes.append(
                    f"{group.name} served {served:,} of {came:,} requests of {name}, fewer than others: "
                    "its latencies leave out the rest"
                )
