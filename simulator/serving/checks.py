"""What must be true of the services of any run, recomputed from its tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.moves import Moves
from simulator.run import Run

_SLACK = 1e-6
_SHOWN = 3


def broken_service_rules(run: Run) -> list[str]:
    """A line for each rule that is broken; empty for a run without services."""
    if not run.facts.get("services"):
        return []
    return [*_lives(run), *_holdings(run), *_requests(run)]


def _told(what: str, bad: np.ndarray) -> Iterator[str]:
    rows = bad.nonzero()[0]
    if len(rows):
        shown = ", ".join(map(str, rows[:_SHOWN])) + (", ..." if len(rows) > _SHOWN else "")
        yield f"{what} ({len(rows):,}): rows {shown}"


def _lives(run: Run) -> Iterator[str]:
    of = run.columns("replicas", "requested_s", "allocated_s", "ready_s", "drain_s", "end_s", "end")
    times = [of[name] for name in ("requested_s", "allocated_s", "ready_s", "drain_s", "end_s")]
    wrong = np.zeros(len(times[0]), bool)
    reached = times[0]
    for time_s in times[1:]:
        is_known = ~np.isnan(time_s)
        wrong |= is_known & (time_s < reached)
        reached = np.where(is_known, time_s, reached)
    yield from _told("replicas whose times are not requested <= allocated <= ready <= drained <= end", wrong)
    never = np.isnan(times[1]) & ~np.isnan(times[2])
    yield from _told("replicas that were ready without GPUs", never)
    yield from _told("replicas that drained and were never ready", np.isnan(times[2]) & ~np.isnan(times[3]))
    yield from _told("replicas that end before the run and are running", (of["end"] == "running") & (times[4] < float(
        run.facts["end_s"])))  # fmt: skip


def _holdings(run: Run) -> Iterator[str]:
    of = run.columns("replicas", "job", "num_gpus", "allocated_s", "end_s", "held_gpu_s")
    moves = Moves.of(run)
    if not np.array_equal(of["job"], len(run.jobs) + np.arange(len(of["job"]))):
        yield "replicas are not numbered one after the other"
        return
    mine = moves.job >= len(run.jobs)
    replica = moves.job[mine] - len(run.jobs)
    until_s = np.append(moves.time_s, float(run.facts["end_s"]))[moves.next_row[mine]]
    held = np.bincount(replica, moves.num_gpus[mine] * (until_s - moves.time_s[mine]), len(of["job"]))
    yield from _told("replicas whose GPU-seconds the allocations don't make",
                     np.abs(held - of["held_gpu_s"]) > _SLACK * (1.0 + held))  # fmt: skip
    sizes = moves.num_gpus[mine]
    yield from _told("replicas of another size", (sizes != 0) & (sizes != of["num_gpus"][replica]))
    lived = np.where(np.isnan(of["allocated_s"]), 0.0, of["end_s"] - of["allocated_s"]) * of["num_gpus"]
    yield from _told("replicas that hold GPUs before they have them or after they are gone",
                     np.abs(held - lived) > _SLACK * (1.0 + held))  # fmt: skip


def _requests(run: Run) -> Iterator[str]:
    histograms = {name: run.table(name).to_pandas() for name in ("latencies", "latency_heat")}
    minutes = run.table("slo_minutes").to_pandas()
    kept = run.table("requests", ["service", "number", "arrival_s", "first_s", "finish_s"]).to_pandas()
    for name, of in run.facts["services"].items():
        known = sum(of[f"num_{fate}"] for fate in ("served", "rejected", "timed_out", "lost", "in_flight"))
        if of["num_requests"] != known:
            yield f"service {name}: {of['num_requests']:,} requests, but {known:,} accounted for"
        for table, bins in histograms.items():
            totals = bins[bins["service"] == name].groupby("metric")["num_requests"].sum()
            for metric, total in totals.items():
                if metric != "time_per_output_token" and total != of["num_served"]:
                    yield f"service {name}: {of['num_served']:,} requests served, {total:,} of {metric} in {table}"
        settled = int(minutes["num_settled"][minutes["service"] == name].sum())
        if settled != known - of["num_in_flight"]:
            yield f"service {name}: {known - of['num_in_flight']:,} requests settled, {settled:,} in slo_minutes"
        rows = kept[kept["service"] == name]
        if rows["number"].duplicated().any():
            yield f"service {name}: requests served twice"
        if not ((rows["arrival_s"] <= rows["first_s"]) & (rows["first_s"] <= rows["finish_s"])).all():
            yield f"service {name}: requests answered before they came"
