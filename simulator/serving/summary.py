"""What services came to, for summary.json: their requests, their replicas, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.node_use import HOUR_S, NodeUse
from simulator.run import Run
from simulator.serving.buying import NODES, Purchase


@dataclass(frozen=True)
class Replicas:
    """The table replicas; shape (R,) each. Its rows are numbered from the number of jobs on."""

    service: np.ndarray
    num_gpus: np.ndarray
    allocated_s: np.ndarray
    ready_s: np.ndarray
    end_s: np.ndarray
    held_gpu_s: np.ndarray

    @classmethod
    def of(cls, run: Run) -> Replicas:
        """From its table; empty for a run without services."""
        names = list(cls.__dataclass_fields__)
        if not run.facts.get("services"):
            return cls(*(np.zeros(0, str if name == "service" else float) for name in names))
        return cls(**run.columns("replicas", *names))


def summarise_services(run: Run, replicas: Replicas, use: NodeUse, num_jobs: int) -> dict[str, Any]:
    """By service, beside what was counted while it ran:

    | metric | is |
    |---|---|
    | replicas_mean, replicas_max | ready or draining, over the run |
    | replica_h, gpu_held_h | time that replicas held GPUs, in replica-hours and GPU-hours |
    | gpu_startup_h | of that, before they were ready |
    | num_replicas_never_ready, gpu_never_ready_h | let go before they were ready, and GPU-hours that they held |
    | cost_usd | what the GPUs they held cost, start-up and draining included; or what was bought, see `buying` |
    | cost_per_1k_requests_usd | that, by a thousand requests served |
    """
    facts = run.facts.get("services") or {}
    usd = use.held_usd(np.concatenate([np.zeros(num_jobs), replicas.held_gpu_s]))[num_jobs:]
    end_s = max(use.end_s, 1e-9)
    summaries = {}
    for name, counted in facts.items():
        mine = replicas.service == name
        ready_s, end = replicas.ready_s[mine], replicas.end_s[mine]
        served_s = np.where(np.isnan(ready_s), 0.0, end - ready_s)
        began_s = np.where(np.isnan(ready_s), end, ready_s)
        startup_s = np.where(np.isnan(replicas.allocated_s[mine]), 0.0, began_s - replicas.allocated_s[mine])
        never = np.isnan(ready_s) & (end < end_s)
        gpus, held_gpu_s = replicas.num_gpus[mine], float(replicas.held_gpu_s[mine].sum())
        cost_usd = _usd(counted, float(usd[mine].sum()), held_gpu_s)
        summaries[name] = {
            **counted,
            "replicas_mean": float(served_s.sum()) / end_s,
            "replicas_max": _most_at_once(ready_s, end),
            "num_replicas": int(mine.sum()),
            "replica_h": float((replicas.held_gpu_s[mine] / gpus).sum()) / HOUR_S,
            "gpu_held_h": held_gpu_s / HOUR_S,
            "gpu_startup_h": float((startup_s * gpus).sum()) / HOUR_S,
            "num_replicas_never_ready": int(never.sum()),
            "gpu_never_ready_h": float(replicas.held_gpu_s[mine][never].sum()) / HOUR_S,
            "cost_usd": cost_usd,
            "cost_per_1k_requests_usd": 1e3 * cost_usd / counted["num_served"] if counted["num_served"] else None,
        }
    return summaries


def _usd(counted: Mapping[str, Any], held_usd: float, held_gpu_s: float) -> float:
    """What a service costs, by how it is bought."""
    purchase = Purchase(**counted.get("purchase", {}))
    if purchase.buy == NODES:
        return held_usd
    tokens = (counted.get(f"num_{kind}_tokens", 0) for kind in ("prompt", "output"))
    return purchase.usd(held_gpu_s, counted["num_served"], *tokens)


def bought_usd(summaries: Mapping[str, Any]) -> float:
    """What was paid for services that don't run on nodes of one's own."""
    return sum(of["cost_usd"] for of in summaries.values() if of.get("purchase", {}).get("buy", NODES) != NODES)


def summarise_routed(facts: Mapping[str, Any], services: Mapping[str, Any]) -> dict[str, Any]:
    """By service with sites, beside what was counted of all of its requests: its costs, and who got how much.

    | metric | is |
    |---|---|
    | sites | what each is called among `services` |
    | cost_usd, cost_per_1k_requests_usd | of all sites |
    | share_by_site | of the requests that came |
    """
    summaries = {}
    for name, counted in facts.items():
        of = {site: services[service] for site, service in counted["sites"].items()}
        num, cost_usd = sum(each["num_requests"] for each in of.values()), sum(each["cost_usd"] for each in of.values())
        summaries[name] = {
            **counted,
            "cost_usd": cost_usd,
            "cost_per_1k_requests_usd": 1e3 * cost_usd / counted["num_served"] if counted["num_served"] else None,
            "share_by_site": {site: each["num_requests"] / num if num else None for site, each in of.items()},
        }
    return summaries


def busy_fracs(run: Run, summaries: Mapping[str, Any]) -> dict[str, float]:
    """By service, the share of the time in which ready replicas served a request, as it was sampled."""
    if not summaries:
        return {}
    samples = run.columns("service_metrics", "service", "num_ready", "gpu_utilisation_frac")
    fracs = {}
    for index, name in enumerate(summaries):
        mine = samples["service"] == index
        ready = samples["num_ready"][mine]
        busy = float((ready * samples["gpu_utilisation_frac"][mine]).sum())
        fracs[name] = busy / max(1.0, float(ready.sum()))
    return fracs


def _most_at_once(begin_s: np.ndarray, end_s: np.ndarray) -> int:
    kept = ~np.isnan(begin_s) & (end_s > begin_s)
    time_s = np.concatenate([begin_s[kept], end_s[kept]])
    change = np.concatenate([np.ones(kept.sum(), int), -np.ones(kept.sum(), int)])
    order = np.lexsort((change, time_s))  # who goes is gone before who comes
    return int(change[order].cumsum().max(initial=0))
