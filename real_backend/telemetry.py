"""What a node agent measures of its node: CPU, memory and network with psutil, GPUs with NVML."""

from __future__ import annotations

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from real_backend.errors import BackendError

# What a sample holds. The two of GPUs are missing where there is none to measure.
MEASURES = {
    "cpu_utilisation_frac": "CPU time of the node's workers, as a share of its CPUs",
    "host_cpu_utilisation_frac": "busy share of all CPUs of the host, whoever uses them",
    "memory_utilisation_frac": "resident memory of the node's workers, as a share of its memory",
    "host_memory_utilisation_frac": "share of the host's memory that isn't available",
    "network_gib_per_s": "GiB sent and received per second by the host",
    "network_utilisation_frac": "the busier direction, as a share of the node's bandwidth; 0 where that isn't known",
    "gpu_utilisation_frac": "share of time that a kernel ran, a mean over the node's GPUs",
    "gpu_memory_utilisation_frac": "share of memory in use, a mean over the node's GPUs",
}

DEVICES = ("cpu", "cuda")
_GIB = 2**30
_LOOK_S = 5.0  # how often to look for new descendants: that takes 4 ms for 100 processes on the host
_BOOT_TIME_S = 1.0  # Linux knows when it booted to the second, and with it when processes began
_INSTALL = "pip install -c constraints.txt -e '.[torch]'"


class NodeTelemetry:
    """Measures one node; several nodes may be played on one host.

    Args:
        device: `cpu` or `cuda`; with `cpu` no GPU is looked for.
        gpu_indices: the node's GPUs as CUDA counts them (after CUDA_VISIBLE_DEVICES); empty: all. NVML counts in the
            order of the PCI bus: on a host with unlike GPUs set CUDA_DEVICE_ORDER=PCI_BUS_ID.
        num_cpus: the node's share of the host's; None: all that this process may use. A container's quota isn't seen.
        memory_gib: the node's share of the host's; None: the same share as of the CPUs.
        network_gib_per_s: the node's bandwidth in each direction; 0: not known.
        nics: network interfaces to count; empty: all but loopback. Name them where bridges would count bytes twice,
            or the loopback where nodes share a host. RDMA passes all of them by.
        psutil, nvml: the modules psutil and pynvml, or fakes.
        clock, wall_clock: seconds that only go forward; Unix time.

    Raises:
        BackendError: an unknown device or interface, a share that can't be, or psutil isn't installed. Never for
            GPUs: `why_no_gpu` says what is wrong with them.
    """

    def __init__(
        self,
        device: str,
        gpu_indices: Sequence[int] = (),
        *,
        num_cpus: float | None = None,
        memory_gib: float | None = None,
        network_gib_per_s: float = 0.0,
        nics: Sequence[str] = (),
        psutil: Any = None,
        nvml: Any = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        if device not in DEVICES:
            raise BackendError(f"telemetry: device={device}: must be {' or '.join(DEVICES)}")
        self._psutil = _psutil() if psutil is None else psutil
        self._clock, self._wall_clock = clock, wall_clock
        self.num_cpus = self._usable_cpus() if num_cpus is None else num_cpus
        self.memory_gib = self._memory_share() if memory_gib is None else memory_gib
        self._network_gib_per_s = network_gib_per_s
        rules = {
            "num_cpus": (self.num_cpus, self.num_cpus > 0, "more than 0"),
            "memory_gib": (self.memory_gib, self.memory_gib > 0, "more than 0"),
            "network_gib_per_s": (network_gib_per_s, network_gib_per_s >= 0, "0 or more"),
        }
        for name, (value, holds, rule) in rules.items():
            if not holds:
                raise BackendError(f"telemetry: {name}={value}: must be {rule}")
        self._nics, self._loopback = frozenset(nics), self._find_loopback(nics)
        self._gpus = _Gpus(device, gpu_indices, nvml)
        self._roots: frozenset[int] = frozenset()
        self._trees: list[Any] = []  # the processes that were found under these roots
        self._look_s = 0.0
        self._cpu_s: dict[Any, float] = {}  # used so far, by process
        self._psutil.cpu_percent()  # from here on
        self._bytes = self._count_bytes()
        self._sampled_s = clock()

    @property
    def why_no_gpu(self) -> str:
        """In one line why no GPU is measured; empty if one is."""
        return self._gpus.why_none

    @property
    def num_gpus_lost(self) -> int:
        """GPUs of the node that didn't answer when last asked; they are asked again each time."""
        return len(self._gpus.lost)

    def sample(self, pids: Iterable[int] | None = None) -> dict[str, float]:
        """What happened since the last sample, under the names of `MEASURES`.

        Shares of workers may exceed 1: they use more than the node's share of the host. Memory that processes share
        counts for each of them. A process that ends between two samples takes its last CPU seconds with it; new
        workers are seen at once, their new descendants within 5 s.

        Args:
            pids: the node's workers, for CPU and memory, each with its descendants; None: the whole host.
        """
        psutil, now_s = self._psutil, self._clock()
        elapsed_s, self._sampled_s = now_s - self._sampled_s, now_s
        host_cpu_frac, host_memory_frac = psutil.cpu_percent() / 100, psutil.virtual_memory().percent / 100
        if pids is None:
            self._cpu_s = {}
            cpu_frac, memory_frac = host_cpu_frac, host_memory_frac
        else:
            cpu_s, memory_gib = self._used_by(frozenset(pids), elapsed_s)
            cpu_frac = cpu_s / (elapsed_s * self.num_cpus) if elapsed_s > 0 else 0.0
            memory_frac = memory_gib / self.memory_gib
        return {
            "cpu_utilisation_frac": cpu_frac,
            "host_cpu_utilisation_frac": host_cpu_frac,
            "memory_utilisation_frac": memory_frac,
            "host_memory_utilisation_frac": host_memory_frac,
            **self._network(elapsed_s),
            **self._gpus.sample(),
        }

    def close(self) -> None:
        """Lets go of NVML; GPUs are missing from samples after that."""
        self._gpus.close()

    # ---- CPU and memory
    def _usable_cpus(self) -> int:
        try:
            return len(self._psutil.Process().cpu_affinity())
        except AttributeError:  # not on every system
            return self._psutil.cpu_count()

    def _memory_share(self) -> float:
        return self._psutil.virtual_memory().total / _GIB * self.num_cpus / self._psutil.cpu_count()

    def _used_by(self, pids: frozenset[int], elapsed_s: float) -> tuple[float, float]:
        """(CPU seconds since the last sample, GiB now) of process trees."""
        cpu_s, num_bytes, known = 0.0, 0, {}
        for process in self._living(pids):
            with contextlib.suppress(self._psutil.Error):  # it has ended
                times, rss = process.cpu_times(), process.memory_info().rss
                now_s = times.user + times.system
                is_new = self._wall_clock() - process.create_time() <= elapsed_s + _BOOT_TIME_S
                cpu_s += now_s - self._cpu_s.get(process, 0.0 if is_new else now_s)
                num_bytes += rss
                known[process] = now_s
        self._cpu_s = known
        return cpu_s, num_bytes / _GIB

    def _living(self, pids: frozenset[int]) -> list[Any]:
        """The processes of these trees, those found last unless that was long ago or a root has changed."""
        living = [process for process in self._trees if process.is_running()]  # not another one with the same id
        is_due = self._sampled_s - self._look_s >= _LOOK_S
        if is_due or pids != self._roots or not pids <= {process.pid for process in living}:
            living = []
            for pid in self._with_descendants(pids):
                with contextlib.suppress(self._psutil.Error):
                    living.append(self._psutil.Process(pid))
            self._roots, self._look_s = pids, self._sampled_s
        self._trees = living
        return living

    def _with_descendants(self, pids: Iterable[int]) -> set[int]:
        found, new = set(), set(pids)
        if new:
            # One pass over all processes: `Process.children` takes one for each pid.
            children: dict[int, set[int]] = {}
            for process in self._psutil.process_iter():
                with contextlib.suppress(self._psutil.Error):
                    children.setdefault(process.ppid(), set()).add(process.pid)
            while new:
                found |= new
                new = {child for pid in new for child in children.get(pid, ())} - found
        return found

    # ---- network
    def _find_loopback(self, nics: Sequence[str]) -> frozenset[str]:
        stats = self._psutil.net_if_stats()
        if unknown := [nic for nic in nics if nic not in stats]:
            raise BackendError(f"telemetry: nics={','.join(unknown)}: unknown; there are {', '.join(sorted(stats))}")
        return frozenset(nic for nic, each in stats.items() if "loopback" in each.flags.split(","))

    def _count_bytes(self) -> dict[str, tuple[int, int]]:
        """(sent, received) so far, by interface."""
        counters = self._psutil.net_io_counters(pernic=True)
        return {
            nic: (each.bytes_sent, each.bytes_recv)
            for nic, each in counters.items()
            if (nic in self._nics if self._nics else nic not in self._loopback)
        }

    def _network(self, elapsed_s: float) -> dict[str, float]:
        before, self._bytes = self._bytes, self._count_bytes()
        sent = received = 0
        for nic in before.keys() & self._bytes.keys():
            sent += self._bytes[nic][0] - before[nic][0]
            received += self._bytes[nic][1] - before[nic][1]
        per_s = 1 / elapsed_s / _GIB if elapsed_s > 0 else 0.0
        bandwidth = self._network_gib_per_s
        return {
            "network_gib_per_s": (sent + received) * per_s,
            "network_utilisation_frac": max(sent, received) * per_s / bandwidth if bandwidth else 0.0,
        }


class _Gpus:
    """The node's GPUs through NVML, as far as there are any.

    NVML averages utilisation over its own last period (a sixth of a second to a second), not since the last sample.
    """

    def __init__(self, device: str, indices: Sequence[int], nvml: Any) -> None:
        self.lost: dict[int, str] = {}  # why, by index
        self._indices: Sequence[int] = ()
        self._nvml: Any = None
        self._why_not = ""
        if device != "cuda":
            self._why_not = f"device={device}: GPUs are not looked for"
            return
        try:
            nvml = importlib.import_module("pynvml") if nvml is None else nvml
        except ImportError:
            self._why_not = f"pynvml is not installed: {_INSTALL}"
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self._why_not = f"no NVIDIA driver: {error}"
            return
        self._nvml, self._visible = nvml, _visible_gpus()
        self._indices = indices or self._all()
        if not self._indices:
            self._why_not = self._why_not or "no GPU: none is there, or CUDA_VISIBLE_DEVICES hides them"
        self.sample()  # are they there?

    @property
    def why_none(self) -> str:
        if len(self.lost) < len(self._indices):
            return ""
        return self._why_not or "; ".join(f"GPU {index} is lost: {why}" for index, why in self.lost.items())

    def sample(self) -> dict[str, float]:
        if self._nvml is None:
            return {}
        self.lost = {}
        measured: dict[str, list[float]] = {}
        for index in self._indices:
            try:
                of_gpu = self._read(index)
            except (self._nvml.NVMLError, LookupError) as error:
                self.lost[index] = " ".join(str(error).split())
                continue
            for name, value in of_gpu.items():
                measured.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in measured.items()}

    def _read(self, index: int) -> dict[str, float]:
        nvml, gpu, values = self._nvml, self._handle(index), {}
        with contextlib.suppress(nvml.NVMLError_NotSupported):  # a part of a GPU (MIG) has none of its own
            values["gpu_utilisation_frac"] = nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100
        with contextlib.suppress(nvml.NVMLError_NotSupported):  # nor has one that shares the host's memory
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            values["gpu_memory_utilisation_frac"] = memory.used / memory.total
        return values

    def close(self) -> None:
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml, self._indices, self._why_not = None, (), "closed"

    def _all(self) -> Sequence[int]:
        if self._visible is not None:
            return range(len(self._visible))
        try:
            return range(self._nvml.nvmlDeviceGetCount())
        except self._nvml.NVMLError as error:
            self._why_not = f"no GPU can be counted: {error}"
            return ()

    def _handle(self, index: int) -> Any:
        """NVML's handle of a GPU that CUDA counts as `index`."""
        if self._visible is None:
            return self._nvml.nvmlDeviceGetHandleByIndex(index)
        if not 0 <= index < len(self._visible):
            raise LookupError(f"CUDA_VISIBLE_DEVICES={','.join(self._visible)} hides it")
        name = self._visible[index]
        if name.isdigit():
            return self._nvml.nvmlDeviceGetHandleByIndex(int(name))
        return self._nvml.nvmlDeviceGetHandleByUUID(name)


def _visible_gpus() -> list[str] | None:
    """Entries of CUDA_VISIBLE_DEVICES, indices or UUIDs, up to the first that hides the rest; None: all are visible."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return None
    visible: list[str] = []
    for entry in given.split(","):
        name = entry.strip()
        if not (name.isdigit() or name.startswith(("GPU-", "MIG-"))):
            break
        visible.append(name)
    return visible


def _psutil() -> Any:
    try:
        return importlib.import_module("psutil")
    except ImportError:
        raise BackendError(f"psutil is not installed: {_INSTALL}") from None
