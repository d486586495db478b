"""What nodes cost and how full they were, from their lives and the placements of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.moves import Moves, Stays, dot

HOUR_S = 3600.0


@dataclass(frozen=True)
class NodeUse:
    """One entry a node, in the order of the table nodes; shape (N,) each."""

    index: np.ndarray  # as in allocations; -1: never ready
    num_gpus: np.ndarray
    startup_s: np.ndarray  # from order to ready, or to the end of a node that never was
    ready_s: np.ndarray  # time ready or draining
    usd_per_s: np.ndarray
    moves: Moves
    stays: Stays
    end_s: float

    @classmethod
    def build(cls, nodes: Mapping[str, np.ndarray], moves: Moves, stays: Stays, end_s: float) -> NodeUse:
        """From columns of the table nodes, and the placements of jobs on them."""
        up_s = np.minimum(nodes["ready_s"], nodes["terminated_s"])
        return cls(
            index=nodes["node"],
            num_gpus=nodes["num_gpus"].astype(np.float64),
            startup_s=up_s - nodes["ordered_s"],
            ready_s=nodes["terminated_s"] - up_s,
            usd_per_s=nodes["usd_per_node_h"] / HOUR_S,
            moves=moves,
            stays=stays,
            end_s=end_s,
        )

    @property
    def billed_s(self) -> np.ndarray:
        return self.startup_s + self.ready_s

    @property
    def ready_gpu_s(self) -> np.ndarray:
        return self.ready_s * self.num_gpus

    def cost(self, held_gpu_s: float) -> dict[str, Any]:
        """The bill and its parts. A node's price is shared by its GPUs; jobs pay for those they hold.

        Args:
            held_gpu_s: GPU time held in all; spread over ready nodes alike where jobs aren't on nodes (pooled).
        """
        usd_per_gpu_s = self.usd_per_s / np.maximum(self.num_gpus, 1)
        if len(self.stays.node):
            busy_usd = dot(self.held_gpu_s(), usd_per_gpu_s)
        else:
            ready_gpu_s = float(self.ready_gpu_s.sum())
            busy_usd = dot(self.ready_gpu_s, usd_per_gpu_s) * held_gpu_s / ready_gpu_s if ready_gpu_s else 0.0
        total_usd, startup_usd = dot(self.billed_s, self.usd_per_s), dot(self.startup_s, self.usd_per_s)
        return {
            "cost_usd": total_usd,
            "cost_busy_usd": busy_usd,
            "cost_idle_usd": max(0.0, total_usd - startup_usd - busy_usd),
            "cost_startup_usd": startup_usd,
        }

    def _lasted_s(self) -> np.ndarray:
        """How long each stay lasted; shape (K,)."""
        time_s = np.append(self.moves.time_s, self.end_s)
        return time_s[self.moves.next_row[self.stays.row]] - time_s[self.stays.row]

    def held_usd(self, held_gpu_s: np.ndarray) -> np.ndarray:
        """What the GPUs that each job and replica held cost; shape (J,), by their numbers in allocations.

        Args:
            held_gpu_s: GPU time held by each; what counts where placement is pooled.
        """
        usd_per_gpu_s = self.usd_per_s / np.maximum(self.num_gpus, 1)
        stays = self.stays
        if not len(stays.node):
            ready_gpu_s = float(self.ready_gpu_s.sum())
            return held_gpu_s * (dot(self.ready_gpu_s, usd_per_gpu_s) / ready_gpu_s if ready_gpu_s else 0.0)
        price = np.zeros(self.index.max(initial=0) + 1)
        price[self.index[self.index >= 0]] = usd_per_gpu_s[self.index >= 0]
        usd = stays.num_gpus * self._lasted_s() * price[stays.node]
        return np.bincount(self.moves.job[stays.row], usd, len(held_gpu_s))

    def held_gpu_s(self) -> np.ndarray:
        """GPU time that jobs and replicas held on each node; shape (N,)."""
        stays, lasted_s = self.stays, self._lasted_s()
        by_index = np.bincount(stays.node, stays.num_gpus * lasted_s, self.index.max(initial=0) + 1)
        return np.where(self.index >= 0, by_index[self.index], 0.0)

    def fragmentation_frac(self) -> float | None:
        """Share of the GPU time not held that lies on partly held nodes: too few GPUs together for a large job.

        None where jobs aren't on nodes (pooled), or nothing was ever free.
        """
        stays = self.stays
        free_gpu_s = float(self.ready_gpu_s.sum() - self.held_gpu_s().sum()) if len(stays.node) else 0.0
        if free_gpu_s <= 0:
            return None
        rows = len(self.moves.time_s) + 1  # and one for the end
        node = np.concatenate([stays.node, stays.node]).astype(np.int64)
        row = np.concatenate([stays.row, self.moves.next_row[stays.row]])
        change = np.concatenate([stays.num_gpus, -stays.num_gpus])
        order = (node * rows + row).argsort()  # by node, then time; the order at one instant doesn't matter
        node, held = node[order], change[order].cumsum(dtype=np.int64)  # 0 after a node's last
        time_s = np.append(self.moves.time_s, self.end_s)[row[order]]
        size = np.zeros(self.index.max() + 1)
        size[self.index[self.index >= 0]] = self.num_gpus[self.index >= 0]
        lasts_s = np.where(held[:-1] > 0, np.diff(time_s), 0.0)
        return dot(size[node[:-1]] - held[:-1], lasts_s) / free_gpu_s
