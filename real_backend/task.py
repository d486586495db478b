"""What a job trains: model, data, batch and optimiser, as plain values that travel as JSON."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

# Built-in models and their sizes, as `build` of each module in `real_backend.models` takes them.
MODELS: Mapping[str, tuple[str, ...]] = {
    "mlp": ("width", "depth", "features", "classes"),
    "resnet": ("blocks", "width", "classes", "groups"),
    "gpt": ("layers", "width", "heads", "context", "vocabulary"),
}
SYNCS = ("allreduce", "parameter_server")
OPTIMIZERS = ("sgd", "adamw")
_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # package.module:name


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of training job.

    Args:
        model: mlp, resnet, gpt, or "package.module:factory" of your own: called with `model_options`, it returns
            (module, loss), and loss(module, x, y) is the mean over the samples. A sample's part of it mustn't depend
            on which others are with it (no batch normalisation), nor on chance (no dropout), or the weights would
            depend on the number of workers.
        model_options: sizes; see `MODELS`.
        data: synthetic (of the kind that `model` takes; a model of your own gets that of mlp), or
            "package.module:factory": called without arguments, it returns something with `len` and
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
        self._check_types()
        own = "package.module:factory"
        rules = {
            "model": (
                self.model in MODELS or _PATH.fullmatch(self.model),
                f"must be {own}, or a built-in model{_nearest(self.model, MODELS)}",
            ),
            "data": (self.data == "synthetic" or _PATH.fullmatch(self.data), f"must be synthetic or {own}"),
            "train": (not self.train or _PATH.fullmatch(self.train), "must be package.module:function"),
            "sync": (self.sync in SYNCS, f"must be one of {', '.join(SYNCS)}"),
            "optimizer": (self.optimizer in OPTIMIZERS, f"must be one of {', '.join(OPTIMIZERS)}"),
            "num_samples": (self.num_samples >= 1, "must be 1 or more"),
            "global_batch": (self.global_batch >= 1, "must be 1 or more"),
            "max_batch_per_worker": (self.max_batch_per_worker >= 1, "must be 1 or more"),
            "lr": (0 < self.lr < math.inf, "must be more than 0"),
            "momentum": (0 <= self.momentum < 1, "must lie in 0..1, 1 excluded"),
            "seed": (0 <= self.seed < 2**63, "must be 0 or more"),
            "pace_base_s": (self.pace_base_s is None or 0 <= self.pace_base_s < math.inf, "must be 0 or more"),
            "pace_per_sample_s": (0 <= self.pace_per_sample_s < math.inf, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name}={getattr(self, name)}: {rule}")
        for name, value in self.model_options.items() if self.model in MODELS else ():
            if name not in MODELS[self.model]:
                raise ValueError(
                    f"model_options.{name}: unknown size of {self.model}{_nearest(name, MODELS[self.model])}"
                )
            if type(value) is not int or value < 1:
                raise ValueError(f"model_options.{name}={value!r}: must be a whole number, 1 or more")

    def _check_types(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "model_options":
                holds, rule = isinstance(value, Mapping), "must be a mapping"
            elif option.name == "pace_base_s":
                holds, rule = value is None or type(value) in (int, float), "must be a number, or nothing"
            elif isinstance(option.default, float):
                holds, rule = type(value) in (int, float), "must be a number"
            elif isinstance(option.default, int):
                holds, rule = type(value) is int, "must be a whole number"
            else:
                holds, rule = isinstance(value, str), "must be text"
            if not holds:
                raise ValueError(f"{option.name}={value!r}: {rule}")

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
                raise ValueError(f"{name}: unknown option of a task{_nearest(name, known)}")
        return cls(**values)


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), 3)
    return (f"; did you mean {' or '.join(near)}?" if near else ";") + f" Known: {', '.join(sorted(known))}"
