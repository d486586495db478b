"""One worker's part of data-parallel training: the same model everywhere, a share of each step's samples.

A step is: forward and backward over this worker's share in passes of at most `max_batch_per_worker`, synchronisation
of the gradients in the last pass, one step of the optimiser. The gradient is that of the mean over the global batch,
however it is shared out, so that the number of workers changes nothing but the time (and the last bits).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from real_backend.data import num_samples_of, samples_of, source_of
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
        self._batch_of = source_of(task)
        self._num_samples = num_samples_of(task)
        self._wrapped: torch.nn.Module = self._module
        self._rank, self._world_size = 0, 1
        self.step = 0

    # ---- gangs
    def join(self, source: int | None) -> None:
        """Becomes part of the process group that has just been formed.

        Args:
            source: the rank whose weights, optimiser and step all others take over; None: all have the same.
        """
        self._rank, self._world_size = dist.get_rank(), dist.get_world_size()
        if source is not None and self._world_size > 1:
            self._take_over(source)
        if self._task.sync == "allreduce" and not self._task.is_paced:
            ids = [self._device.index] if self._device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(self._module, device_ids=ids, init_sync=False)

    def leave(self) -> None:
        """Is no longer part of a process group."""
        self._wrapped = self._module

    def _take_over(self, source: int) -> None:
        state = self.state_dict()
        place = self._device if dist.get_backend() == "nccl" else "cpu"
        flat = torch.cat([state[name].reshape(-1).to(torch.float64).to(place) for name in sorted(state)])
        dist.broadcast(flat, source)
        if self._rank != source:
            begin = 0
            for name in sorted(state):
                size = state[name].numel()
                part = flat[begin : begin + size].to(state[name].dtype).reshape(state[name].shape)
                state[name] = part.to(state[name].device)
                begin += size
            self.load_state_dict(state)

    # ---- steps
    def train_step(self) -> float:
        """One global step by this worker's share; returns its part of the mean loss over the global batch.

        The parts of all workers add up to the mean.
        """
        indices = samples_of(
            self.step, self._rank, self._world_size, self._num_samples, self._task.global_batch, self._task.seed
        )
        if self._task.is_paced:
            loss_part = self._paced_gradients(indices)
        else:
            loss_part = self._gradients(indices)
        if self._task.sync == "parameter_server":
            self._step_on_server()
        else:
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss_part

    def _gradients(self, indices: np.ndarray) -> float:
        task, passes = self._task, _passes(indices, self._task.max_batch_per_worker)
        loss_part = 0.0
        for number, rows in enumerate(passes, 1):
            is_last = number == len(passes)
            x, y = (part.to(self._device, non_blocking=True) for part in self._batch_of(rows))
            is_ddp = isinstance(self._wrapped, DistributedDataParallel)
            with nullcontext() if is_last or not is_ddp else self._wrapped.no_sync():  # type: ignore[operator]
                loss = self._loss(self._wrapped, x, y) * (len(rows) / task.global_batch)
                (loss * self._world_size if is_ddp else loss).backward()  # DDP divides by the number of workers
            loss_part += float(loss.detach())
        return loss_part

    def _paced_gradients(self, indices: np.ndarray) -> float:
        """Sleeps for as long as computing would take; the gradient, cheap, is a sum over samples all the same.

        It goes through a real all-reduce of its real size; DistributedDataParallel hangs on a backward pass, so that
        is done here.
        """
        task, began_s = self._task, time.perf_counter()
        rows = torch.as_tensor(indices, dtype=torch.float64)
        share = len(rows) / task.global_batch
        per_sample = float((rows % 97).sum()) / 97.0 / task.global_batch
        weights = torch.nn.utils.parameters_to_vector(self._parameters).detach()
        gradient = weights * (_DECAY * share) + _SPREAD * per_sample
        loss_part = 0.5 * float(weights.square().mean()) * share
        assert task.pace_base_s is not None
        passes = _passes(indices, task.max_batch_per_worker)
        due_s = task.pace_base_s * len(passes) + task.pace_per_sample_s * len(rows)
        time.sleep(max(0.0, began_s + due_s - time.perf_counter()))
        if task.sync == "allreduce" and self._world_size > 1:
            dist.all_reduce(gradient)
        self._set_gradients(gradient)
        return loss_part

    def _set_gradients(self, flat: torch.Tensor) -> None:
        begin = 0
        for parameter in self._parameters:
            size = parameter.numel()
            parameter.grad = flat[begin : begin + size].view_as(parameter).clone()
            begin += size

    def _step_on_server(self) -> None:
        """Gradients to rank 0, which has the optimiser's state; weights back from it."""
        if self._world_size == 1:
            self._optimizer.step()
            return
        flat = torch.cat(
            [p.grad.reshape(-1) if p.grad is not None else p.new_zeros(p.numel()) for p in self._parameters]
        )
        _on_any_backend(dist.reduce, flat, 0)
        if self._rank == 0:
            self._set_gradients(flat)
            self._optimizer.step()
        weights = torch.nn.utils.parameters_to_vector(self._parameters).detach()
        _on_any_backend(dist.broadcast, weights, 0)
        if self._rank:
            with torch.no_grad():
                torch.nn.utils.vector_to_parameters(weights, self._parameters)

    # ---- state
    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that goes on, flat and in tensors only, so that loading it never has to run what a file says."""
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


def _passes(indices: np.ndarray, most: int) -> list[np.ndarray]:
    """A worker's samples in passes of at most so many."""
    return np.array_split(indices, -(-len(indices) // most))


def _on_any_backend(collective: Callable[[torch.Tensor, int], object], tensor: torch.Tensor, rank: int) -> None:
    """A collective from or to one rank; through the CPU where gloo is to move a GPU's tensor."""
    if tensor.is_cuda and dist.get_backend() == "gloo":
        copy = tensor.cpu()
        collective(copy, rank)
        tensor.copy_(copy)
    else:
        collective(tensor, rank)
