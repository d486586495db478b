"""Rates of jobs on gangs of GPUs, remembered."""

from __future__ import annotations

from collections.abc import Callable

from simulator.errors import SimulationError
from workloads import Linear, StepTimeModel

_SHOWN = 5


class Speeds:
    """How fast a job goes relative to the gang that it asked for, packed on as few nodes as can be.

    Exactly 1 on that gang, unless durations are stated on GPUs of another type. A step-time model is asked once for
    each (model, asked, held, nodes).
    """

    def __init__(self, model: StepTimeModel, gpus_per_node: int) -> None:
        self._model, self._gpus_per_node = model, gpus_per_node
        self._stated: Callable[[str, int], float] | None = getattr(model, "stated_step_time_s", None)
        self._known: dict[tuple[str, int, int, int], float] = {}
        self._extrapolated: dict[str, None] = {}  # a set that keeps its order
        # The most common case needs no look-up: a gang of the asked size runs at 1 wherever it is.
        self.place_matters = not (isinstance(model, Linear) and model.cross_node_frac == 0.0)

    def rate(self, name: str, asked: int, held: int, num_nodes: int) -> float:
        """Work per second of a job of model `name` that asked for `asked` GPUs and has `held` on `num_nodes` nodes.

        0 nodes: placement is pooled, and the gang as packed as can be.
        """
        if held == asked and not self.place_matters:
            return 1.0
        key = (name, asked, held, num_nodes)
        rate = self._known.get(key)
        if rate is None:
            rate = self._known[key] = self._ask(*key)
        return rate

    def _ask(self, name: str, asked: int, held: int, num_nodes: int) -> float:
        packed = -(-asked // self._gpus_per_node)
        num_nodes = num_nodes or -(-held // self._gpus_per_node)
        if held == asked and num_nodes == packed and self._stated is None:
            return 1.0
        stated_s = self._stated(name, asked) if self._stated else self._step_time_s(name, asked, packed)
        rate = stated_s / self._step_time_s(name, held, num_nodes)
        if not 0.0 < rate < float("inf"):
            raise SimulationError(f"the step-time model gives rate {rate} to {name or 'a job'!r} on {held} GPUs")
        return rate

    def _step_time_s(self, name: str, num_gpus: int, num_nodes: int) -> float:
        is_extrapolated = getattr(self._model, "is_extrapolated", None)  # of models that were measured
        if is_extrapolated is not None and is_extrapolated(name, num_gpus, num_nodes):
            self._extrapolated[f"{name} on {num_gpus} GPUs, {num_nodes} node{'s' if num_nodes > 1 else ''}"] = None
        return self._model.step_time_s(name, num_gpus, num_nodes)

    def notes(self) -> list[str]:
        """What a run should say of its speeds: those that lie beyond what was measured."""
        if not self._extrapolated:
            return []
        shown = list(self._extrapolated)[:_SHOWN]
        more = f" and {len(self._extrapolated) - _SHOWN} more" if len(self._extrapolated) > _SHOWN else ""
        return [f"step times are extrapolated, beyond what was measured, for {'; '.join(shown)}{more}"]
