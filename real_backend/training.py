"""One worker's part of data-parallel training: the same model everywhere, a share of each step's samples.

A step is: forward and backward over this worker's share in passes of at most `max_batch_per_worker`, synchronisation
of the gradients in the last pass, one step of the optimiser. The gradient is that of the mean over the global batch,
however it is shared out, so that the number of workers changes nothing but the time (and the last bits).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from real_backend.data import data_of, samples_of
from real_backend.models import build
from real_backend.task import Task

_DECAY, _SPREAD = 0.1, 1e-4  # of a paced step's gradient


class Training:
    """Model, optimiser and place in the data of one worker. `step` is the number of global steps done."""

    def __init__(self, task: Task, device: torch.device) -> None:
        self._task, self._device = task, device
        module, self._loss = build(task)
        self._module = module.to(device)
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        if task.optimizer == "adamw":
            self._optimizer: torch.optim.Optimizer = torch.optim.AdamW(self._parameters, lr=task.lr)
        else:
            self._optimizer = torch.optim.SGD(self._parameters, lr=task.lr, momentum=task.momentum)
        self._data = data_of(task)
        self._wrapped: torch.nn.Module = self._module
        self._rank, self._world_size = 0, 1
        self.step = 0

    # ---- gangs
    def join(self, source: int | None) -> None:
        """Becomes part of the process group that has just been formed.

        Args:
            source: the rank whose weights, optimiser and step all others take over; None: all have the same. With a
                parameter server it is the old server, the only one that has the optimiser's state.

        Raises:
            RuntimeError: the new parameter server would begin without the optimiser's state.
        """
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()
        if source is not None and self._world_size > 1:
            self._take_over(source)
        if self._task.sync == "parameter_server":
            if self._rank:
                self._optimizer.state.clear()
            elif self.step and self._kept and not self._optimizer.state:
                raise RuntimeError("the new parameter server has no state of the optimiser: the source must be the old")
        elif not self._task.is_paced:
            # init_sync: by now all have the same weights, so it need not send them again from rank 0.
            self._wrapped = DistributedDataParallel(self._module, init_sync=False)

    def leave(self) -> None:
        """Is no longer part of a process group."""
        self._wrapped = self._module  # the last reference: its hooks in the backward pass end with it

    def _take_over(self, source: int) -> None:
        """All state as bytes in one broadcast: one for each tensor would cost a round trip each."""
        state = self.state_dict()
        names = sorted(state)
        tensors = [state[name].to(self._device) for name in names]
        flat = torch.cat([tensor.reshape(-1).view(torch.uint8) for tensor in tensors])
        dist.broadcast(flat, source)
        if self._rank != source:
            parts = flat.split([tensor.numel() * tensor.element_size() for tensor in tensors])
            for name, tensor, part in zip(names, tensors, parts, strict=True):
                state[name] = part.clone().view(tensor.dtype).view(tensor.shape)  # clone: for its alignment
            self.load_state_dict(state)

    # ---- steps
    def train_step(self) -> float:
        """One global step by this worker's share; returns its part of the mean loss over the global batch.

        The parts of all workers add up to the mean.

        Raises:
            ValueError: more workers than samples a step.
        """
        task = self._task
        indices = samples_of(
            self.step, self._rank, self._world_size, self._data.num_samples, task.global_batch, task.seed
        )
        passes = np.array_split(indices, -(-len(indices) // task.max_batch_per_worker))
        loss_part = self._paced_gradients(passes) if task.is_paced else self._gradients(passes)
        if task.sync == "parameter_server":
            self._step_on_server()
        else:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss_part)  # last, as it waits for all that a GPU has been given

    def _gradients(self, passes: list[np.ndarray]) -> torch.Tensor:
        """Forward and backward; with DistributedDataParallel, the last backward pass all-reduces the gradients."""
        loss_part = torch.zeros((), device=self._device)
        for number, rows in enumerate(passes, 1):
            x, y = (part.to(self._device) for part in self._data.batch(rows))
            ddp = self._wrapped if isinstance(self._wrapped, DistributedDataParallel) else None
            with ddp.no_sync() if ddp and number < len(passes) else nullcontext():
                loss = self._loss(self._wrapped, x, y) * (len(rows) / self._task.global_batch)
                (loss * self._world_size if ddp else loss).backward()  # DDP takes the mean of the workers' gradients
            loss_part += loss.detach()
        return loss_part

    def _paced_gradients(self, passes: list[np.ndarray]) -> torch.Tensor:
        """Sleeps for as long as computing would take; the gradient, cheap, is a sum over samples all the same.

        It goes through a real all-reduce of its real size; DistributedDataParallel hangs on a backward pass, so that
        is done here.
        """
        task, began_s = self._task, time.perf_counter()
        indices = np.concatenate(passes)
        share = len(indices) / task.global_batch
        per_sample = float((indices % 97).sum()) / 97.0 / task.global_batch
        weights = _flat(self._parameters)
        gradient = weights * (_DECAY * share) + _SPREAD * per_sample
        assert task.pace_base_s is not None
        due_s = task.pace_base_s * len(passes) + task.pace_per_sample_s * len(indices)
        time.sleep(max(0.0, began_s + due_s - time.perf_counter()))
        if task.sync == "allreduce":
            dist.all_reduce(gradient)
        self._set_gradients(gradient)
        return 0.5 * weights.square().mean() * share

    def _set_gradients(self, flat: torch.Tensor) -> None:
        for parameter, part in zip(self._parameters, _parts(flat, self._parameters), strict=True):
            parameter.grad = part.to(parameter.dtype)

    def _step_on_server(self) -> None:
        """Gradients to rank 0, which has the optimiser's state; weights back from it."""
        gradient = _flat([p.grad if p.grad is not None else torch.zeros_like(p) for p in self._parameters])
        _reduce_to_server(gradient)
        if self._rank == 0:
            self._set_gradients(gradient)
            self._optimizer.step()
        weights = _flat(self._parameters)
        dist.broadcast(weights, 0)
        if self._rank:
            with torch.no_grad():
                for parameter, part in zip(self._parameters, _parts(weights, self._parameters), strict=True):
                    parameter.copy_(part)

    # ---- state
    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that goes on, flat and in tensors only, so that loading it never has to run what a file says.

        The tensors are the living ones. A worker that isn't the parameter server has zeros for the optimiser's state:
        a template for loading, but not what is to be saved.
        """
        state = {f"model.{name}": value.detach() for name, value in self._module.state_dict().items()}
        for number, parameter in enumerate(self._parameters):
            held = self._optimizer.state.get(parameter, {})
            for name in self._kept:
                value = held.get(name)
                if value is None:
                    value = torch.zeros(()) if name == "step" else torch.zeros_like(parameter)
                state[f"optimizer.{number}.{name}"] = value.detach()
        state["optimizer.has_stepped"] = torch.tensor(float(bool(self._optimizer.state)))
        state["step"] = torch.tensor(float(self.step), dtype=torch.float64)
        return state

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Goes on from what `state_dict` gave."""
        with torch.no_grad():
            self._module.load_state_dict(
                {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
            )
        self._optimizer.state.clear()
        if float(state["optimizer.has_stepped"]):
            for number, parameter in enumerate(self._parameters):
                self._optimizer.state[parameter] = {
                    name: state[f"optimizer.{number}.{name}"].clone().to("cpu" if name == "step" else parameter.device)
                    for name in self._kept
                }
        self.step = int(state["step"])

    @property
    def _kept(self) -> tuple[str, ...]:
        """What the optimiser keeps of each parameter."""
        if self._task.optimizer == "adamw":
            return ("step", "exp_avg", "exp_avg_sq")
        return ("momentum_buffer",) if self._task.momentum else ()


def _flat(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """All in one, in a copy."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _parts(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """What `_flat` put together, as views."""
    parts = flat.split([tensor.numel() for tensor in like])
    return [part.view(tensor.shape) for part, tensor in zip(parts, like, strict=True)]


def _reduce_to_server(tensor: torch.Tensor) -> None:
    """Through the CPU where gloo is to reduce a GPU's tensor, which its documentation doesn't list."""
    if tensor.is_cuda and dist.get_backend() == "gloo":
        copy = tensor.cpu()
        dist.reduce(copy, 0)
        tensor.copy_(copy)
    else:
        dist.reduce(tensor, 0)
