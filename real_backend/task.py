"""What a job trains: model, data, batch and optimiser, as plain values that travel as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from workloads.options import nearest

MODELS = ("mlp", "resnet", "gpt")
SYNCS = ("allreduce", "parameter_server")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of training job.

    Args:
        model: mlp, resnet, gpt, or "package.module:factory" of your own: called with `model_options`, it returns
            (module, loss), and loss(module, x, y) is the mean over the samples.
        model_options: sizes; see `real_backend.models`.
        data: synthetic, or "package.module:factory": called without arguments, it returns something with `len` and
            `[index] -> (x, y)`.
        num_samples: of synthetic data; an epoch.
        global_batch: samples a step, whatever the number of workers.
        max_batch_per_worker: a worker with more does them in several passes (gradient accumulation).
        sync: allreduce, or parameter_server: gradients are reduced to rank 0, which steps and sends out the weights.
        pace_base_s, pace_per_sample_s: where set, a step's compute is slept and not computed: base + per_sample ×
            samples of the worker, a pass.
        train: "package.module:function" of your own in place of `worker.train`.
    """

    model: str = "mlp"
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = "synthetic"
    num_samples: int = 4096
    global_batch: int = 64
    max_batch_per_worker: int = 64
    sync: str = "allreduce"
    optimizer: str = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    seed: int = 0
    pace_base_s: float | None = None
    pace_per_sample_s: float = 0.0
    train: str = ""

    def __post_init__(self) -> None:
        rules = {
            "model": (
                self.model in MODELS or ":" in self.model,
                f"must be package.module:factory{nearest(self.model, MODELS)}",
            ),
            "data": (self.data == "synthetic" or ":" in self.data, "must be synthetic or package.module:factory"),
            "train": (not self.train or ":" in self.train, "must be package.module:function"),
            "sync": (self.sync in SYNCS, f"must be one of {', '.join(SYNCS)}"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"must be one of {', '.join(OPTIMIZERS)}"),
            "num_samples": (self.num_samples >= 1, "must be 1 or more"),
            "global_batch": (self.global_batch >= 1, "must be 1 or more"),
            "max_batch_per_worker": (self.max_batch_per_worker >= 1, "must be 1 or more"),
            "lr": (self.lr > 0, "must be more than 0"),
            "momentum": (0 <= self.momentum < 1, "must lie in 0..1, 1 excluded"),
            "pace_base_s": (self.pace_base_s is None or self.pace_base_s >= 0, "must be 0 or more"),
            "pace_per_sample_s": (self.pace_per_sample_s >= 0, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name}={getattr(self, name)}: {rule}")

    @property
    def is_paced(self) -> bool:
        return self.pace_base_s is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Task:
        """What `to_dict` gave.

        Raises:
            ValueError: an unknown key, with the nearest names.
        """
        known = [option.name for option in fields(cls)]
        for name in values:
            if name not in known:
                raise ValueError(f"{name}: unknown option of a task{nearest(name, known)}")
        return cls(**values)
