"""What nodes cost and how full they were, from their lives and the placements of jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.moves import Moves, Stays, dot

HOUR_S = 3600.0


_IDLE_SHARE = (
    0.15  # of the peak power, where only that is known: an H100 idles at 105 of 700 W (nemulai.com, June 2026)
)
NODE_COLUMNS = (
    *("node", "num_gpus", "launched_s", "warm_s", "ready_s", "terminated_s", "purchase", "usd_per_node_h"),
    *("billed_s", "cost_usd", "cost_warm_usd", "gpu_idle_w", "gpu_peak_w"),
)


@dataclass(frozen=True)
class NodeUse:
    """One entry a node, in the order of the table nodes; shape (N,) each."""

    index: np.ndarray  # as in allocations; -1: never ready
    num_gpus: np.ndarray
    startup_s: np.ndarray  # from launch to ready or warm, or to the end of a node that never was
    ready_s: np.ndarray  # time ready or draining
    billed_s: np.ndarray  # without the time in the warm pool
    cost_usd: np.ndarray
    cost_warm_usd: np.ndarray  # part of it
    usd_per_s: np.ndarray  # of what is billed, on average
    purchase: np.ndarray
    idle_w: np.ndarray  # of one GPU; NaN: not known
    peak_w: np.ndarray
    moves: Moves
    stays: Stays
    end_s: float

    @classmethod
    def build(cls, nodes: Mapping[str, np.ndarray], moves: Moves, stays: Stays, end_s: float) -> NodeUse:
        """From columns of the table nodes (`NODE_COLUMNS`), and the placements of jobs on them."""
        gone_s, billed_s = nodes["terminated_s"], nodes["billed_s"]
        up_s = np.minimum(np.minimum(nodes["ready_s"], nodes["warm_s"]), gone_s)
        paid_usd = nodes["cost_usd"] - nodes["cost_warm_usd"]
        usd_per_s = np.divide(paid_usd, billed_s, out=nodes["usd_per_node_h"] / HOUR_S, where=billed_s > 0)
        peak_w = nodes["gpu_peak_w"]
        return cls(
            index=nodes["node"],
            num_gpus=nodes["num_gpus"].astype(np.float64),
            startup_s=up_s - np.minimum(nodes["launched_s"], up_s),
            ready_s=gone_s - np.minimum(nodes["ready_s"], gone_s),
            billed_s=billed_s,
            cost_usd=nodes["cost_usd"],
            cost_warm_usd=nodes["cost_warm_usd"],
            usd_per_s=usd_per_s,
            purchase=nodes["purchase"].astype(str),
            idle_w=np.where(np.isnan(nodes["gpu_idle_w"]), _IDLE_SHARE * peak_w, nodes["gpu_idle_w"]),
            peak_w=peak_w,
            moves=moves,
            stays=stays,
            end_s=end_s,
        )

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
        used_usd = dot(self.startup_s + self.ready_s, self.usd_per_s)
        startup_usd, warm_usd = dot(self.startup_s, self.usd_per_s), float(self.cost_warm_usd.sum())
        total_usd = float(self.cost_usd.sum())
        return {
            "cost_usd": total_usd,
            "cost_busy_usd": busy_usd,
            "cost_idle_usd": max(0.0, used_usd - startup_usd - busy_usd),
            "cost_startup_usd": startup_usd,
            "cost_warm_usd": warm_usd,
            "cost_rounding_usd": max(0.0, total_usd - warm_usd - used_usd),
            **{
                f"cost_{kind}_usd": float(self.cost_usd[np.char.startswith(self.purchase, kind)].sum())
                for kind in ("on_demand", "spot", "committed")
            },
        }

    def energy_kwh(self, busy_frac: np.ndarray, busy_gpu_s: float) -> float | None:
        """What the GPUs of launched nodes used; None where the power of some isn't known.

        A GPU draws its idle power, and with its utilisation linearly more, up to its peak. Stopped nodes of the warm
        pool draw none; CPUs, cooling and losses are left out.

        Args:
            busy_frac: how busy each job or replica keeps the GPUs that it holds; shape (J,), by numbers in allocations.
            busy_gpu_s: busy GPU time in all; spread over ready nodes alike where jobs aren't on nodes (pooled).
        """
        on_gpu_s = (self.startup_s + self.ready_s) * self.num_gpus
        if np.isnan(self.peak_w[on_gpu_s > 0]).any() or not on_gpu_s.any():
            return None
        if len(self.stays.node):
            busy = self._by_node(self.stays.num_gpus * self._lasted_s() * busy_frac[self.moves.job[self.stays.row]])
        else:
            ready = self.ready_gpu_s
            busy = ready * (busy_gpu_s / ready.sum()) if ready.any() else ready
        joules = on_gpu_s * self.idle_w + busy * (self.peak_w - self.idle_w)
        return float(joules[on_gpu_s > 0].sum()) / (1000.0 * HOUR_S)

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
        return self._by_node(self.stays.num_gpus * self._lasted_s())

    def _by_node(self, of_stay: np.ndarray) -> np.ndarray:
        """Sums over the stays on each node; shape (N,)."""
        by_index = np.bincount(self.stays.node, of_stay, self.index.max(initial=0) + 1)
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
