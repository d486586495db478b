"""The names of the metrics in summary.json, so that a misspelt one is found before anything has run."""

from __future__ import annotations

from collections.abc import Collection

from simulator.errors import ConfigError
from workloads.options import nearest

_SHARES = ("gpu_allocation_frac", "gpu_utilisation_frac", "fragmentation_frac", "deadline_attainment_frac")
_COSTS = (
    *("busy", "idle", "startup", "warm", "rounding", "bought", "on_demand", "spot", "committed"),
    *("overhead", "lost", "training", "serving", "per_job"),
)
RUN_METRICS = (  # see `simulator.metrics.summarise`
    *(f"num_{jobs}" for jobs in ("submitted", "finished", "rejected", "failed", "unfinished", "not_submitted")),
    *("num_measured", "num_measured_finished", "num_measured_started", "warmup_s", "makespan_s"),
    *(f"{time}_{what}_s" for time in ("jct", "queueing") for what in ("mean", "p50", "p95", "p99", "max")),
    *("unfinished_age_mean_s", "jct_lower_bound_mean_s"),
    *(f"slowdown_{what}" for what in ("mean", "p50", "p95", "p99")),
    *(f"finish_time_fairness_{what}" for what in ("mean", "p50", "p95", "max")),
    *("num_deadlines", "num_deadlines_open", "queue_length_mean", "queue_length_max", *_SHARES),
    *("gpu_ready_h", "gpu_held_h", "node_billed_h", "overhead_gpu_h", "lost_gpu_h", "energy_kwh"),
    *("cost_usd", *(f"cost_{part}_usd" for part in _COSTS)),
    *("num_nodes_ordered", "num_nodes_failed", "num_nodes_reclaimed", "num_nodes_stock_out"),
    *("num_orders_waited", "num_stockouts", "num_preemptions", "num_rescales", "num_decisions"),
)
SERVICE_METRICS = (  # see `simulator.serving.summary`
    *(f"num_{fate}" for fate in ("requests", "served", "rejected", "timed_out", "lost", "retries", "in_flight")),
    *(
        f"{time}_{what}_s"
        for time in ("latency", "ttft", "time_per_output_token")
        for what in ("mean", "p50", "p90", "p95", "p99", "p99_9", "max")
    ),
    *("num_prompt_tokens", "num_output_tokens", "slo_attainment_frac", "slo_minutes_in_violation"),
    *("num_cold_starts", "cold_start_mean_s", "cold_start_total_s", "num_replicas_killed", "gpus_per_replica"),
    *("replicas_mean", "replicas_max", "num_replicas", "replica_h", "gpu_held_h", "gpu_startup_h"),
    *("num_replicas_never_ready", "gpu_never_ready_h", "cost_usd", "cost_per_1k_requests_usd"),
)


def check_metric(option: str, metric: str, services: Collection[str]) -> None:
    """Sees that runs with these services can have a metric.

    Raises:
        ConfigError: a name that no run will have, with the nearest.
    """
    path, _, key = metric.rpartition(".")  # a service's name may have dots, a metric has none
    if not path:
        if key not in RUN_METRICS:
            of_services = f" (of a service it is services.NAME.{key})" if key in SERVICE_METRICS else ""
            raise ConfigError(f"{option}={metric}: unknown metric{of_services}{nearest(key, RUN_METRICS)}")
        return
    name = path.removeprefix("services.")
    if name not in services:
        raise ConfigError(f"{option}={metric}: unknown service{nearest(name, services) if services else ': none runs'}")
    if key not in SERVICE_METRICS:
        raise ConfigError(f"{option}={metric}: unknown metric of a service{nearest(key, SERVICE_METRICS)}")
