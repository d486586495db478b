"""What a run came to: the content of summary.json, from its records alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.fairness import finish_time_fairness
from simulator.moves import Moves, Stays, dot
from simulator.node_use import NODE_COLUMNS, NodeUse
from simulator.run import Run
from simulator.serving.summary import Replicas, bought_usd, busy_fracs, summarise_routed, summarise_services
from simulator.timeline import Timeline

HOUR_S = 3600.0
_JOB_COLUMNS = (
    *("submit_s", "start_s", "finish_s", "state", "duration_s", "num_gpus", "max_gpus", "deadline_s"),
    *("held_gpu_s", "overhead_gpu_s", "lost_work_s", "gpu_utilisation_frac", "num_preemptions", "num_rescales"),
)


def summarise(run: Run, labels: Mapping[str, Any] | None = None, warmup_s: float = 0.0) -> dict[str, Any]:
    """The metrics of a run, flat, with its labels and facts; ready for JSON: a number that isn't there is None.

    | metric | is |
    |---|---|
    | num_submitted | num_finished + num_failed + num_rejected + num_unfinished |
    | num_measured | submitted from `warmup_s` on: the jobs that the statistics of jobs are about |
    | jct_*_s | submission to completion, of measured jobs that finished |
    | jct_lower_bound_mean_s | the same mean with unfinished jobs taken to finish when the run ended |
    | unfinished_age_mean_s | submission to the end of the run, of measured unfinished jobs |
    | queueing_*_s | submission to first start, of measured jobs that started |
    | slowdown_* | JCT over the duration on the GPUs asked for |
    | finish_time_fairness_* | see `simulator.fairness`; above 1: worse off than with an equal share |
    | deadline_attainment_frac | of measured jobs whose deadline has come, or who finished: the share in time |
    | makespan_s | first submission to last completion; to the end of the run where jobs are unfinished |
    | gpu_allocation_frac | GPU time held over GPU time of nodes ready or draining, in the whole run |
    | gpu_utilisation_frac | the same, with held time weighted by how busy the job keeps its GPUs |
    | fragmentation_frac | share of the GPU time not held that lies on partly held nodes |
    | overhead_gpu_h | GPU time held in moves: checkpoint, restart, restore |
    | lost_gpu_h | work lost in preemptions, at the GPUs asked for |
    | cost_usd | the bills of all nodes from launch to termination, by their providers' rules, and cost_bought_usd |
    | cost_startup_usd, cost_busy_usd, cost_idle_usd | its parts: before ready, held, ready but not held |
    | cost_warm_usd, cost_rounding_usd | more of them: stopped in the warm pool, billed beyond its end |
    | cost_bought_usd | the last: paid for services by the second, the request or the token |
    | cost_on_demand_usd, cost_spot_usd, cost_committed_usd | the bills of nodes, by how they are bought |
    | cost_overhead_usd, cost_lost_usd | of cost_busy_usd: GPUs held in moves; for work that was lost |
    | cost_training_usd, cost_serving_usd | GPUs held by jobs; by replicas of services, or bought for them |
    | energy_kwh | of the GPUs, see `NodeUse.energy_kwh`; None where their power isn't known |
    | num_nodes_failed, _reclaimed | nodes that went so |
    | num_orders_waited | orders, of one node each, whose first attempt found no machine: it came later, or never |
    | num_stockouts | attempts that found none: one order makes one each `startup.retry_s` until it finds one |
    | num_nodes_stock_out | of num_orders_waited: given up without a machine |
    | queue_length_mean, _max | jobs that wait, over the time from 0 to the end |
    | services | by name, see `simulator.serving.summary` |
    | routed | by name of services with sites, likewise |

    Args:
        labels: what was chosen; kept as they are.
        warmup_s: jobs submitted before are left out of the statistics of jobs (GPUs, queue and cost stay whole).
    """
    jobs = run.columns("jobs", *_JOB_COLUMNS)
    nodes = run.columns("nodes", *NODE_COLUMNS, "end", "num_stockouts")
    moves, end_s = Moves.of(run), float(run.facts["end_s"])
    timeline = Timeline.build(jobs, nodes, moves, end_s)
    use, replicas = NodeUse.build(nodes, moves, Stays.of(run), end_s), Replicas.of(run)
    num_jobs = len(jobs["state"])
    services = summarise_services(run, replicas, use, num_jobs)
    busy_frac = busy_fracs(run, services)
    gpus = _Gpus(
        np.append(jobs["held_gpu_s"], replicas.held_gpu_s),
        np.append(jobs["gpu_utilisation_frac"], [busy_frac[name] for name in replicas.service.tolist()]),
    )
    is_measured = (jobs["submit_s"] >= warmup_s) & (jobs["state"] != "not_submitted")
    measured = _take(jobs, is_measured)
    summary = {
        "labels": dict(labels or {}),
        **_counts(jobs),
        "warmup_s": warmup_s,
        **_job_times(measured, end_s),
        **_fairness(measured, timeline),
        **_deadlines(measured, end_s),
        **_whole_run(jobs, timeline),
        **_gpus_and_cost(jobs, use, gpus),
        "cost_bought_usd": bought_usd(services),
        "cost_serving_usd": sum(of["cost_usd"] for of in services.values()),
        **_moves(jobs),
        **_nodes(nodes),
        "num_decisions": run.facts.get("num_decisions"),
        "workload_hash": _workload_hash(jobs),
        "notes": list(run.facts.get("notes", [])),
        "services": services,
        "routed": summarise_routed(run.facts.get("routed") or {}, services),
        "facts": {name: value for name, value in run.facts.items() if name not in ("notes", "services", "routed")},
    }
    summary["cost_usd"] += summary["cost_bought_usd"]
    return json_safe(summary)


def json_safe(value: Any) -> Any:
    """`value` with plain Python types, and None in place of numbers that JSON doesn't have."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _take(jobs: Mapping[str, np.ndarray], which: np.ndarray) -> Mapping[str, np.ndarray]:
    return jobs if which.all() else {name: column[which] for name, column in jobs.items()}


def _counts(jobs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    state = jobs["state"]
    of = {name: int((state == name).sum()) for name in ("finished", "rejected", "failed", "not_submitted")}
    num_submitted = len(state) - of["not_submitted"]
    return {
        "num_submitted": num_submitted,
        "num_finished": of["finished"],
        "num_rejected": of["rejected"],
        "num_failed": of["failed"],
        "num_unfinished": num_submitted - of["finished"] - of["rejected"] - of["failed"],
        "num_not_submitted": of["not_submitted"],  # the run ended before
    }


def _job_times(jobs: Mapping[str, np.ndarray], end_s: float) -> dict[str, Any]:
    state = jobs["state"]
    finished = state == "finished"
    open_ = (state == "running") | (state == "pending")
    jct_s = (jobs["finish_s"] - jobs["submit_s"])[finished]
    age_s = end_s - jobs["submit_s"][open_]
    queueing_s = (jobs["start_s"] - jobs["submit_s"])[np.isfinite(jobs["start_s"])]
    return {
        "num_measured": len(state),
        "num_measured_finished": int(finished.sum()),
        "num_measured_started": len(queueing_s),
        **_spread("jct_{}_s", jct_s, "mean", "p50", "p95", "p99", "max"),
        "unfinished_age_mean_s": _mean(age_s),
        "jct_lower_bound_mean_s": _mean(np.concatenate([jct_s, age_s])),
        **_spread("queueing_{}_s", queueing_s, "mean", "p50", "p95", "p99", "max"),
        **_spread("slowdown_{}", jct_s / jobs["duration_s"][finished], "mean", "p50", "p95", "p99"),
    }


def _fairness(jobs: Mapping[str, np.ndarray], timeline: Timeline) -> dict[str, Any]:
    finished = _take(jobs, jobs["state"] == "finished")
    rho = finish_time_fairness(finished, timeline)
    return _spread("finish_time_fairness_{}", rho, "mean", "p50", "p95", "max")


def _deadlines(jobs: Mapping[str, np.ndarray], end_s: float) -> dict[str, Any]:
    has = np.isfinite(jobs["deadline_s"])
    finished = jobs["state"] == "finished"
    gone = (jobs["state"] == "rejected") | (jobs["state"] == "failed")
    known = has & (finished | gone | (jobs["deadline_s"] < end_s))
    met = has & finished & (jobs["finish_s"] <= jobs["deadline_s"])
    return {
        "num_deadlines": int(has.sum()),
        "num_deadlines_open": int((has & ~known).sum()),
        "deadline_attainment_frac": _ratio(met.sum(), known.sum()),
    }


def _whole_run(jobs: Mapping[str, np.ndarray], timeline: Timeline) -> dict[str, Any]:
    end_s, submit_s = timeline.end_s, jobs["submit_s"]
    is_open = (jobs["state"] == "running") | (jobs["state"] == "pending")
    last_s = end_s if is_open.any() else np.nan_to_num(jobs["finish_s"], nan=-math.inf).max(initial=-math.inf)
    return {
        "makespan_s": last_s - submit_s.min(initial=math.inf),
        "queue_length_mean": _ratio(timeline.queue.integral(0.0, end_s), end_s),
        "queue_length_max": int(timeline.queue.max(end_s)),
    }


@dataclass(frozen=True)
class _Gpus:
    """What jobs and replicas held, by their numbers in allocations, and how busy they kept it; shape (J,)."""

    held_s: np.ndarray
    busy_frac: np.ndarray

    @property
    def busy_s(self) -> float:
        return dot(self.held_s, self.busy_frac)


def _gpus_and_cost(jobs: Mapping[str, np.ndarray], use: NodeUse, gpus: _Gpus) -> dict[str, Any]:
    held_gpu_s, ready_gpu_s = float(gpus.held_s.sum()), use.ready_gpu_s.sum()
    cost = use.cost(held_gpu_s)
    num_jobs, num_finished = len(jobs["state"]), (jobs["state"] == "finished").sum()
    usd = use.held_usd(gpus.held_s)[:num_jobs]
    usd_per_gpu_s = np.divide(usd, jobs["held_gpu_s"], out=np.zeros(num_jobs), where=jobs["held_gpu_s"] > 0)
    return {
        "gpu_allocation_frac": _ratio(held_gpu_s, ready_gpu_s),
        "gpu_utilisation_frac": _ratio(gpus.busy_s, ready_gpu_s),
        "fragmentation_frac": use.fragmentation_frac(),
        "gpu_ready_h": ready_gpu_s / HOUR_S,
        "gpu_held_h": held_gpu_s / HOUR_S,
        "node_billed_h": use.billed_s.sum() / HOUR_S,
        "num_nodes_ordered": len(use.billed_s),
        **cost,
        "cost_overhead_usd": dot(jobs["overhead_gpu_s"], usd_per_gpu_s),
        "cost_lost_usd": dot(jobs["lost_work_s"] * jobs["num_gpus"], usd_per_gpu_s),
        "cost_per_job_usd": _ratio(cost["cost_usd"], num_finished),
        "cost_training_usd": float(usd.sum()),
        "energy_kwh": use.energy_kwh(gpus.busy_frac, gpus.busy_s),
    }


def _nodes(nodes: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How nodes ended that did not go by a plan, and which orders found no machine, how often."""
    ends = {f"num_nodes_{end}": int((nodes["end"] == end).sum()) for end in ("failed", "reclaimed", "stock_out")}
    tries = nodes["num_stockouts"]
    return {**ends, "num_orders_waited": int((tries > 0).sum()), "num_stockouts": int(tries.sum())}


def _moves(jobs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {
        "num_preemptions": int(jobs["num_preemptions"].sum()),
        "num_rescales": int(jobs["num_rescales"].sum()),
        "overhead_gpu_h": jobs["overhead_gpu_s"].sum() / HOUR_S,
        "lost_gpu_h": dot(jobs["lost_work_s"], jobs["num_gpus"]) / HOUR_S,
    }


def _workload_hash(jobs: Mapping[str, np.ndarray]) -> str:
    """The same for the same jobs: tells runs that can be compared job by job."""
    digest = hashlib.sha256()
    for name in ("submit_s", "duration_s", "num_gpus"):
        digest.update(np.ascontiguousarray(jobs[name], "<f8").tobytes())
    return digest.hexdigest()[:16]


def _spread(name: str, values: np.ndarray, *what: str) -> dict[str, Any]:
    """Mean, percentiles (linear between neighbours) and maximum, under names such as `jct_{}_s`."""
    if not len(values):
        return {name.format(each): None for each in what}
    given = {"mean": values.mean(), "max": values.max()}
    wanted = [each for each in what if each not in given]
    given |= dict(zip(wanted, np.percentile(values, [float(each[1:]) for each in wanted]), strict=True))
    return {name.format(each): given[each] for each in what}


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole else None
