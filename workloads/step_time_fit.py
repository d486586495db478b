"""The step time of one model on one type of GPU, as a formula.

    T_step = (accumulation - 1) · T_compute + (T_compute^γ + T_sync^γ)^(1/γ)

With γ = 1 one comes after the other, with γ = 10 they overlap. The form is that of Pollux (Qiao et al., OSDI 2021,
§3.2), which has T_compute = fixed + variable · batch and T_sync = α + β · max(GPUs - 2, 0), with an α and a β for one
node and others for several. What follows is added to it, each only where the measurements call for it
(`workloads.fitting`):

| what | why |
|---|---|
| T_compute may be a power of the batch, or a table of the batches measured | kernels differ: 6 may take longer than 8 |
| T_compute may grow with the GPUs on the fullest node (`share`), to a limit | they share what feeds them: CPUs, disks |
| T_sync over several nodes may grow with `share` and with the nodes | GPUs of a node share its network card |
| T_sync may grow with each doubling in place of each GPU | trees, and rings whose cost levels off |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from workloads.errors import WorkloadError
from workloads.options import nearest

FORMS = ("linear", "power", "table")
GROWTHS = ("log", "linear")
_MOST_GAMMA = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimeFit:
    """Fitted parameters; its methods take numbers, or arrays of one length."""

    form: str  # of T_compute: linear | power | table
    gamma: float = 1.0  # 1..10
    compute_fixed_s: float = 0.0  # linear, power: fixed + variable · batch^exponent
    compute_variable_s: float = 0.0
    compute_exponent: float = 1.0
    table_batch_per_gpu: tuple[float, ...] = ()  # table: between two points, a straight line in the logarithms;
    table_compute_s: tuple[float, ...] = ()  # beyond, the slope from its first to its last, within 0..1
    share_most_frac: float = 0.0  # T_compute · (1 + most · (1 - exp(-rate · (share - 1))))
    share_rate: float = 0.0
    sync_growth: str = "linear"  # of T_sync: a slope is by GPU beyond the second, or log: by doubling from two on
    local_sync_s: float = 0.0  # T_sync of two GPUs on one node ...
    local_sync_slope_s: float = 0.0
    nodes_sync_s: float = 0.0  # ... and on two
    nodes_sync_slope_s: float = 0.0
    nodes_sync_share_slope_s: float = 0.0  # by GPU of the fullest node beyond the first
    nodes_sync_node_slope_s: float = 0.0  # by node beyond the second

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise WorkloadError(f"form={self.form}: unknown form{nearest(self.form, FORMS)}")
        if self.sync_growth not in GROWTHS:
            raise WorkloadError(f"sync_growth={self.sync_growth}: unknown growth{nearest(self.sync_growth, GROWTHS)}")
        for each in fields(self):
            value = getattr(self, each.name)
            for number in value if isinstance(value, tuple) else () if isinstance(value, str) else (value,):
                if not 0 <= number < math.inf:
                    raise WorkloadError(f"{each.name}={number}: must be a number, 0 or more")
        if not 1.0 <= self.gamma <= _MOST_GAMMA:
            raise WorkloadError(f"gamma={self.gamma}: must lie in 1..{_MOST_GAMMA:g}")
        batches, times_s = self.table_batch_per_gpu, self.table_compute_s
        if self.form == "table":
            if not batches or len(batches) != len(times_s):
                raise WorkloadError(
                    f"table_batch_per_gpu has {len(batches)} and table_compute_s {len(times_s)} numbers: "
                    "must be as many, 1 or more"
                )
            if min(batches) <= 0 or min(times_s) <= 0 or any(np.diff(batches) <= 0):
                raise WorkloadError(
                    f"table_batch_per_gpu={list(batches)}, table_compute_s={list(times_s)}: "
                    "must be more than 0, and the batches rise"
                )
        elif not self.compute_fixed_s + self.compute_variable_s > 0:
            raise WorkloadError(f"compute_fixed_s + compute_variable_s={0.0}: must be more than 0 in form {self.form}")

    def compute_s(self, batch_per_gpu: Any, share: Any = 1) -> Any:
        """T_compute of `batch_per_gpu` samples with `share` GPUs on the fullest node."""
        if self.form == "table":
            base_s = self._look_up(np.log(batch_per_gpu))
        else:
            base_s = self.compute_fixed_s + self.compute_variable_s * batch_per_gpu**self.compute_exponent
        if not self.share_most_frac:
            return base_s
        return base_s * (1.0 - self.share_most_frac * np.expm1(-self.share_rate * (share - 1)))

    def sync_s(self, num_gpus: Any, num_nodes: Any = 1, share: Any = None) -> Any:
        """T_sync; 0 on one GPU. `share` None: the GPUs are spread evenly over the nodes."""
        if share is None:
            share = -(-num_gpus // num_nodes)
        more = self._growth(num_gpus, 2)
        local_s = self.local_sync_s + self.local_sync_slope_s * more
        nodes_s = self.nodes_sync_s + self.nodes_sync_slope_s * more
        if self.nodes_sync_share_slope_s:
            nodes_s = nodes_s + self.nodes_sync_share_slope_s * self._growth(share, 1)
        if self.nodes_sync_node_slope_s:
            nodes_s = nodes_s + self.nodes_sync_node_slope_s * self._growth(num_nodes, 2)
        return np.where(num_gpus < 2, 0.0, np.where(num_nodes < 2, local_s, nodes_s))[()]

    def step_time_s(
        self, num_gpus: Any, num_nodes: Any, batch_per_gpu: Any, accumulation: Any = 1, share: Any = None
    ) -> Any:
        """T_step of `accumulation` batches of `batch_per_gpu` samples on each GPU; `share` as in `sync_s`."""
        if share is None:
            share = -(-num_gpus // num_nodes)
        compute_s, sync_s = self.compute_s(batch_per_gpu, share), self.sync_s(num_gpus, num_nodes, share)
        longer_s, shorter_s = np.maximum(compute_s, sync_s), np.minimum(compute_s, sync_s)
        last_s = longer_s * (1.0 + (shorter_s / longer_s) ** self.gamma) ** (1.0 / self.gamma)
        return (accumulation - 1) * compute_s + last_s

    def _growth(self, number: Any, start: int) -> Any:
        if self.sync_growth == "linear":
            return np.maximum(number - start, 0)
        return np.log2(np.maximum(number, start) / start)

    def _look_up(self, log_batch: Any) -> Any:
        batches, times = np.log(self.table_batch_per_gpu), np.log(self.table_compute_s)
        slope = (times[-1] - times[0]) / (batches[-1] - batches[0]) if len(batches) > 1 else 1.0
        beyond = log_batch - np.clip(log_batch, batches[0], batches[-1])
        return np.exp(np.interp(log_batch, batches, times) + min(max(slope, 0.0), 1.0) * beyond)
