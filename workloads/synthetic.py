"""Jobs drawn from distributions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.generators.arrivals import ARRIVALS, DAY_S, HOUR_S, Arrivals, Daily
from workloads.generators.durations import DURATIONS, Durations, Mixture, draw_within
from workloads.generators.mixes import draw_codes, zipf_weights
from workloads.generators.require import require
from workloads.options import build
from workloads.source import WorkloadSource
from workloads.trace import JobTable, Labels, ReadReport, Trace

_DEFAULT_LOAD_FRAC = 0.8


@dataclass(kw_only=True)
class SyntheticSource(WorkloadSource):
    """A workload drawn from distributions; every option has a default.

    Each kind of draw (arrivals, durations, GPU counts, models, …) has its own random stream, so that changing one
    option leaves the draws of the others as they were.

    Sizes: the default `gpu_counts` and `gpu_weights` are the job counts of Microsoft's Philly trace (Jeon et al.,
    ATC 2019; the derived CSV of 82,247 jobs) up to 64 GPUs; left out: 3 jobs of 128 GPUs, 7 of 12 and 7 of 24.

    `conf/workload/philly_like.yaml` sets the rest to resemble that CSV. Its duration mixture was fitted to the CSV's
    quantiles and mean. Matched, CSV / 82,247 draws: p10 61 / 55, p25 115 / 136, median 1,144 / 1,160, p75 2,932 /
    3,155, p90 11,265 / 12,594, p95 43,646 / 54,966, p99 254,758 / 222,066, p99.9 1.19e6 / 1.18e6, mean 13,136 /
    13,210 s; bounded at the CSV's maximum. `duration_size_exponent` makes large jobs longer, as in the CSV: mean work
    42,811 / 32,600 GPU·s a job (17,100 if durations were independent of size). Not matched: the CSV's own arrival
    times and the short lives of its jobs of 2 and of more than 32 GPUs.
    """

    num_jobs: int = 1000

    # Arrivals. At most one of rate_per_h and load_frac; with neither, load_frac is 0.8. Daily ones take neither.
    arrivals: str = "poisson"  # poisson | diurnal | bursty | batch | daily
    rate_per_h: float | None = None  # mean rate of submissions
    load_frac: float | None = None  # mean rate such that the drawn jobs keep this share of reference_gpus busy
    reference_gpus: int = 64
    daily_amplitude: float = 0.6  # diurnal: 0 no daily cycle … 1 no arrivals at the quietest moment
    peak_hour: float = 15.0  # diurnal: of the day; second 0 is a Monday, 00:00
    weekend_frac: float = 0.5  # diurnal: rate at the weekend over that of a working day
    burst_rates: list[float] = field(default_factory=lambda: [1.0, 10.0])  # bursty: of each state, relative
    burst_sojourn_s: list[float] = field(default_factory=lambda: [14_400.0, 1_800.0])  # bursty: mean time in each
    batch_size: int = 16  # batch, daily: jobs submitted at once
    batch_hours: list[float] = field(default_factory=lambda: [0.0])  # daily: of the day, when so many are submitted

    # Durations, on the GPUs that a job asks for. Outside of the bounds they are drawn again.
    durations: str = "lognormal"  # lognormal | pareto | exponential | constant | mixture
    duration_median_s: float = 1100.0  # lognormal
    duration_sigma: float = 1.5  # lognormal: standard deviation of the logarithm
    duration_mean_s: float = 3600.0  # exponential, constant
    duration_tail_index: float = 1.1  # pareto: the smaller the heavier
    duration_tail_from_s: float = 600.0  # pareto: its smallest value
    duration_mixture: list[dict[str, Any]] = field(default_factory=list)  # mixture: {kind, weight, median_s, …} each
    duration_min_s: float = 1.0
    duration_max_s: float = 2_592_000.0  # 30 days
    duration_size_exponent: float = 0.0  # multiplies a duration by num_gpus to this power, before the bounds

    # What a job is and whose.
    gpu_counts: list[int] = field(default_factory=lambda: [1, 2, 4, 8, 16, 32, 64])
    gpu_weights: list[float] = field(default_factory=lambda: [76627, 1818, 1870, 1643, 199, 67, 6])
    models: list[str] = field(default_factory=lambda: ["resnet18", "resnet50", "bert", "deepspeech2", "yolov3"])
    model_weights: list[float] = field(default_factory=list)  # none: all alike
    num_tenants: int = 10
    tenant_zipf: float = 1.0  # tenant k's share of the jobs is proportional to k^-tenant_zipf
    priorities: list[int] = field(default_factory=lambda: [0])
    priority_weights: list[float] = field(default_factory=list)  # none: all alike

    # What its user says.
    deadline_frac: float = 0.0  # this share of the jobs has a deadline, submit + slack × duration
    deadline_slack_min: float = 1.2  # the slack is uniform between these
    deadline_slack_max: float = 3.0
    deadline_hour: float | None = None  # the deadline is the next time that it is this hour of the day, instead
    user_estimate_factor: float | None = None  # f: user estimate = duration × uniform(1..f); None: no estimates

    def read(self, rng: np.random.Generator) -> Trace:
        """Draws the jobs.

        Raises:
            WorkloadError: an option that breaks its rule, as `option=value: rule`.
        """
        # A new stream goes to the end of this list, or every seed changes its meaning.
        arrival_draws, duration_draws, size_draws, model_draws, tenant_draws, priority_draws, deadline_draws, said = (
            rng.spawn(8)
        )
        self._check()
        arrivals, durations = self._arrivals(), self._durations()
        num = self.num_jobs

        sizes = np.asarray(self.gpu_counts, np.int64)
        num_gpus = sizes[draw_codes("gpu_weights", self.gpu_weights, len(sizes), num, size_draws)]
        factor = num_gpus.astype(np.float64) ** self.duration_size_exponent
        duration_s = draw_within(durations, factor, self.duration_min_s, self.duration_max_s, duration_draws)
        rate_per_s = self._rate_per_s(arrivals, float((duration_s * num_gpus).mean()))
        submit_s = arrivals.times_s(rate_per_s, num, arrival_draws)
        priorities = np.asarray(self.priorities, np.int64)
        columns: dict[str, np.ndarray] = {
            "submit_s": submit_s,
            "num_gpus": num_gpus,
            "duration_s": duration_s,
            "priority": priorities[
                draw_codes("priority_weights", self.priority_weights, len(priorities), num, priority_draws)
            ],
            "deadline_s": self._deadline_s(submit_s, duration_s, deadline_draws),
        }
        if self.user_estimate_factor is not None:
            columns["user_estimate_s"] = duration_s * said.uniform(1.0, self.user_estimate_factor, num)

        model = draw_codes("model_weights", self.model_weights, len(self.models), num, model_draws)
        shares = zipf_weights(self.num_tenants, self.tenant_zipf)
        tenant = draw_codes("tenant_weights", shares, self.num_tenants, num, tenant_draws)
        width = len(str(self.num_tenants))
        jobs = replace(
            JobTable.from_columns(columns),
            model=Labels(model.astype(np.int32), tuple(self.models)),
            tenant=Labels(tenant.astype(np.int32), tuple(f"tenant{k + 1:0{width}}" for k in range(self.num_tenants))),
        )
        return Trace(jobs, self._report(rate_per_s, jobs))

    def _check(self) -> None:
        require(self.num_jobs >= 1, "num_jobs", self.num_jobs, "must be 1 or more")
        both = self.rate_per_h is not None and self.load_frac is not None
        require(not both, "rate_per_h", self.rate_per_h, f"load_frac={self.load_frac} is set too; set one to null")
        for name in ("rate_per_h", "load_frac"):
            value = getattr(self, name)
            rule = "arrivals=daily has its rate by batch_size and batch_hours; set it to null"
            require(value is None or self.arrivals != "daily", name, value, rule)
            require(value is None or 0 < value < np.inf, name, value, "must be more than 0")
        require(self.reference_gpus >= 1, "reference_gpus", self.reference_gpus, "must be 1 or more")
        require(0 < self.duration_min_s < np.inf, "duration_min_s", self.duration_min_s, "must be more than 0 s")
        rule = f"must be at least duration_min_s, {self.duration_min_s:g} s"
        require(self.duration_max_s >= self.duration_min_s, "duration_max_s", self.duration_max_s, rule)
        exponent = self.duration_size_exponent
        require(bool(np.isfinite(exponent)), "duration_size_exponent", exponent, "must be a finite number")
        for name in ("gpu_counts", "models", "priorities"):
            require(len(getattr(self, name)) > 0, name, [], "needs a value or more")
        require(all(k >= 1 for k in self.gpu_counts), "gpu_counts", self.gpu_counts, "must be 1 or more")
        require(self.num_tenants >= 1, "num_tenants", self.num_tenants, "must be 1 or more")
        require(0 <= self.tenant_zipf < np.inf, "tenant_zipf", self.tenant_zipf, "must be 0 or more")
        require(0 <= self.deadline_frac <= 1, "deadline_frac", self.deadline_frac, "must lie in 0..1")
        low, high = self.deadline_slack_min, self.deadline_slack_max
        require(low > 0, "deadline_slack_min", low, "must be more than 0")
        require(low <= high < np.inf, "deadline_slack_max", high, f"must be at least deadline_slack_min, {low:g}")
        hour = self.deadline_hour
        require(hour is None or 0 <= hour < 24, "deadline_hour", hour, "must lie in 0..24, or be null")
        said = self.user_estimate_factor
        require(said is None or 1 <= said < np.inf, "user_estimate_factor", said, "must be 1 or more, or null")

    def _arrivals(self) -> Arrivals:
        part = _pick("arrivals", self.arrivals, ARRIVALS)
        return part(**{option: getattr(self, option) for option in _field_names(part)})

    def _durations(self) -> Durations:
        if self.durations == "mixture":
            require(bool(self.duration_mixture), "duration_mixture", [], "durations=mixture needs a part or more")
            parts = [self._mixture_part(i, dict(part)) for i, part in enumerate(self.duration_mixture)]
            return Mixture([part for part, _ in parts], [weight for _, weight in parts])
        part = _pick("durations", self.durations, {**DURATIONS, "mixture": Mixture})
        try:
            return part(**{option: getattr(self, f"duration_{option}") for option in _field_names(part)})
        except WorkloadError as error:  # a part speaks of its own fields
            raise WorkloadError(f"duration_{error}") from None

    def _mixture_part(self, i: int, options: dict[str, Any]) -> tuple[Durations, float]:
        at = f"duration_mixture[{i}]."
        kind, weight = options.pop("kind", None), options.pop("weight", 1.0)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        require(is_number and 0 <= weight < np.inf, f"{at}weight", weight, "must be a number, 0 or more")
        part = _pick(f"{at}kind", kind, DURATIONS)
        if "max_s" in _field_names(part):
            options.setdefault("max_s", self.duration_max_s)
        try:
            return build(part, options), float(weight)
        except WorkloadError as error:
            raise WorkloadError(f"{at}{error}") from None

    def _rate_per_s(self, arrivals: Arrivals, mean_work_gpu_s: float) -> float:
        if isinstance(arrivals, Daily):
            return arrivals.rate_per_s
        if self.rate_per_h is not None:
            return self.rate_per_h / HOUR_S
        load_frac = _DEFAULT_LOAD_FRAC if self.load_frac is None else self.load_frac
        return load_frac * self.reference_gpus / mean_work_gpu_s

    def _deadline_s(self, submit_s: np.ndarray, duration_s: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        has, how_much = rng.spawn(2)
        if self.deadline_hour is None:
            due_in_s = how_much.uniform(self.deadline_slack_min, self.deadline_slack_max, self.num_jobs) * duration_s
        else:
            due_in_s = DAY_S - (submit_s - self.deadline_hour * HOUR_S) % DAY_S
        return np.where(has.random(self.num_jobs) < self.deadline_frac, submit_s + due_in_s, np.inf)

    def _report(self, rate_per_s: float, jobs: JobTable) -> ReadReport:
        num = len(jobs)
        work_gpu_s = float(jobs.gpu_s.mean())
        load_gpus = rate_per_s * work_gpu_s
        per_cent = f"{load_gpus / self.reference_gpus:.0%} of reference_gpus={self.reference_gpus}"
        return ReadReport(
            f"synthetic ({self.arrivals} arrivals, {self.durations} durations)",
            rows_read=num,
            rows_kept=num,
            notes=[
                f"{rate_per_s * HOUR_S:.4g} jobs/h of {work_gpu_s / HOUR_S:.4g} GPU·h each: "
                f"an offered load of {load_gpus:.4g} GPUs, {per_cent}"
            ],
        )


def _pick(option: str, name: Any, known: Mapping[str, Any]) -> Any:
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise WorkloadError(f"{option}={name}: must be one of {', '.join(known)}{hint}")


def _field_names(part: Any) -> list[str]:
    return [option.name for option in fields(part)]
