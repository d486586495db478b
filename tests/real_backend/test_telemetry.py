"""What agents measure of their nodes, on a made-up host and a real one, and what Prometheus gets to see of it."""

from __future__ import annotations

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from socketserver import BaseServer
from types import SimpleNamespace

import pytest

from policies import METRICS
from real_backend.errors import BackendError
from real_backend.exporter import Exporter
from real_backend.telemetry import MEASURES, NodeTelemetry

GIB = 2**30
GPU_MEASURES = {"gpu_utilisation_frac", "gpu_memory_utilisation_frac"}


class Gone(Exception):
    """Stands for psutil.Error."""


@dataclass(eq=False)
class FakeProcess:
    pid: int
    parent: int = 1
    began_s: float = 0.0
    cpu_s: float = 0.0
    gib: float = 0.0
    is_gone: bool = False

    def create_time(self) -> float:
        return self.began_s

    def ppid(self) -> int:
        if self.is_gone:
            raise Gone
        return self.parent

    def is_running(self) -> bool:
        return not self.is_gone

    def cpu_times(self) -> SimpleNamespace:
        if self.is_gone:
            raise Gone
        return SimpleNamespace(user=0.75 * self.cpu_s, system=0.25 * self.cpu_s)

    def memory_info(self) -> SimpleNamespace:
        return SimpleNamespace(rss=self.gib * GIB)

    def cpu_affinity(self) -> list[int]:
        return [0, 1, 2, 3]


@dataclass
class FakeHost:
    """Stands for psutil and for both clocks: 16 CPUs, of which we may use 4, and 64 GiB."""

    now_s: float = 1000.0
    cpu_per_cent: float = 0.0
    processes: dict[int, FakeProcess] = field(default_factory=lambda: {7: FakeProcess(7)})
    sent: dict[str, float] = field(default_factory=lambda: {"lo": 0.0, "eth0": 5.0, "eth1": 0.0})  # GiB
    received: dict[str, float] = field(default_factory=lambda: {"lo": 0.0, "eth0": 9.0, "eth1": 0.0})
    num_looks: int = 0
    Error = Gone

    def clock(self) -> float:
        return self.now_s

    def cpu_count(self) -> int:
        return 16

    def cpu_percent(self) -> float:
        return self.cpu_per_cent

    def virtual_memory(self) -> SimpleNamespace:
        return SimpleNamespace(total=64 * GIB, percent=25.0)

    def Process(self, pid: int = 7) -> FakeProcess:
        if pid not in self.processes:
            raise Gone
        return self.processes[pid]

    def process_iter(self) -> Iterator[FakeProcess]:
        self.num_looks += 1
        return iter(list(self.processes.values()))

    def net_if_stats(self) -> dict[str, SimpleNamespace]:
        return {nic: SimpleNamespace(flags="up,loopback" if nic == "lo" else "up,running") for nic in self.sent}

    def net_io_counters(self, pernic: bool) -> dict[str, SimpleNamespace]:
        assert pernic
        return {
            nic: SimpleNamespace(bytes_sent=int(self.sent[nic] * GIB), bytes_recv=int(self.received[nic] * GIB))
            for nic in self.sent
        }

    def add(self, *processes: FakeProcess) -> None:
        self.processes |= {process.pid: process for process in processes}


class NvmlError(Exception):
    pass


class NotSupported(NvmlError):
    pass


@dataclass
class FakeNvml:
    """Stands for pynvml: GPUs by index, as (busy %, GiB of 80 in use)."""

    gpus: dict[int, tuple[int, float]] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    why_not: str = ""
    has_rates: bool = True
    num_open: int = 0
    NVMLError = NvmlError
    NVMLError_NotSupported = NotSupported

    def nvmlInit(self) -> None:
        if self.why_not:
            raise NvmlError(self.why_not)
        self.num_open += 1

    def nvmlShutdown(self) -> None:
        self.num_open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index not in self.gpus:
            raise NvmlError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return self.names[name]

    def nvmlDeviceGetUtilizationRates(self, gpu: int) -> SimpleNamespace:
        if not self.has_rates:
            raise NotSupported
        return SimpleNamespace(gpu=self.gpus[gpu][0])

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> SimpleNamespace:
        if self.gpus[gpu][1] < 0:
            raise NvmlError("GPU is lost")
        return SimpleNamespace(used=self.gpus[gpu][1] * GIB, total=80 * GIB)


@pytest.fixture(autouse=True)
def all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def telemetry_of(host: FakeHost, **options: object) -> NodeTelemetry:
    return NodeTelemetry("cpu", psutil=host, clock=host.clock, wall_clock=host.clock, **options)  # type: ignore[arg-type]


def with_gpus(nvml: FakeNvml, *indices: int) -> NodeTelemetry:
    return NodeTelemetry("cuda", indices, psutil=FakeHost(), nvml=nvml)


# ---- CPU and memory


def test_without_pids_the_node_is_the_host(host: FakeHost) -> None:
    telemetry = telemetry_of(host)
    host.now_s, host.cpu_per_cent = 1001.0, 40.0
    sample = telemetry.sample()
    assert sample.keys() == MEASURES.keys() - GPU_MEASURES
    assert sample["cpu_utilisation_frac"] == sample["host_cpu_utilisation_frac"] == 0.4
    assert sample["memory_utilisation_frac"] == sample["host_memory_utilisation_frac"] == 0.25


def test_workers_count_with_their_descendants_and_each_once(host: FakeHost) -> None:
    host.add(FakeProcess(10, cpu_s=100.0, gib=1.0), FakeProcess(11, parent=10, cpu_s=5.0, gib=1.0))
    host.add(FakeProcess(12, parent=11, gib=2.0), FakeProcess(20, cpu_s=900.0, gib=30.0))
    telemetry = telemetry_of(host)
    assert (telemetry.num_cpus, telemetry.memory_gib) == (4, 16.0)  # what we may use, and as much of the memory
    assert telemetry.sample(pids=[10, 11])["cpu_utilisation_frac"] == 0.0  # not what was before
    host.now_s += 2.0
    for pid, cpu_s in {10: 1.0, 11: 2.0, 12: 1.0, 20: 2.0}.items():
        host.processes[pid].cpu_s += cpu_s
    sample = telemetry.sample(pids=[10, 11])
    assert sample["cpu_utilisation_frac"] == 4.0 / (2.0 * 4)
    assert sample["memory_utilisation_frac"] == 4.0 / 16.0


def test_a_process_that_began_since_the_last_sample_counts_from_its_beginning(host: FakeHost) -> None:
    telemetry = telemetry_of(host, num_cpus=2, memory_gib=8.0)
    host.now_s += 4.0
    host.add(FakeProcess(10, began_s=1001.0, cpu_s=3.0), FakeProcess(11, began_s=900.0, cpu_s=50.0))
    assert telemetry.sample(pids=[10, 11])["cpu_utilisation_frac"] == 3.0 / (4.0 * 2)


def test_a_process_id_that_is_used_again_is_another_process(host: FakeHost) -> None:
    host.add(FakeProcess(10, cpu_s=50.0))
    telemetry = telemetry_of(host, num_cpus=1)
    telemetry.sample(pids=[10])
    host.now_s += 4.0
    host.processes[10].is_gone = True
    host.add(FakeProcess(10, began_s=1002.0, cpu_s=1.0))
    assert telemetry.sample(pids=[10])["cpu_utilisation_frac"] == 0.25


def test_descendants_are_looked_for_every_5_seconds_and_when_workers_change(host: FakeHost) -> None:
    telemetry = telemetry_of(host, memory_gib=1.0)

    def sample(*pids: int) -> tuple[float, int]:
        host.now_s += 1.0
        return telemetry.sample(pids)["memory_utilisation_frac"], host.num_looks

    host.add(FakeProcess(10, gib=1.0), FakeProcess(11, gib=1.0))
    assert [sample(10), sample(10)] == [(1.0, 1), (1.0, 1)]
    host.add(FakeProcess(12, parent=10, gib=1.0))
    assert [sample(10), sample(10, 11)] == [(1.0, 1), (3.0, 2)]
    host.processes[12].is_gone = True
    assert sample(10, 11) == (2.0, 2)  # that it ends is seen at once
    host.add(FakeProcess(13, parent=11, gib=1.0))
    assert [sample(10, 11) for _ in range(4)] == [(2.0, 2)] * 3 + [(3.0, 3)]


def test_processes_may_end_at_any_time(host: FakeHost) -> None:
    telemetry = telemetry_of(host)
    host.now_s += 1.0
    host.add(FakeProcess(10, is_gone=True))
    sample = telemetry.sample(pids=[99])
    assert sample["cpu_utilisation_frac"] == sample["memory_utilisation_frac"] == 0.0
    assert telemetry.sample(pids=[])["cpu_utilisation_frac"] == 0.0


def test_more_than_the_nodes_share_is_more_than_1(host: FakeHost) -> None:
    telemetry = telemetry_of(host, num_cpus=0.5, memory_gib=1.0)
    host.now_s += 1.0
    host.add(FakeProcess(10, began_s=1000.5, cpu_s=1.0, gib=3.0))
    sample = telemetry.sample(pids=[10])
    assert (sample["cpu_utilisation_frac"], sample["memory_utilisation_frac"]) == (2.0, 3.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_cpus": 0}, "num_cpus=0: must be more than 0"),
        ({"memory_gib": -1.0}, "memory_gib=-1.0: must be more than 0"),
        ({"network_gib_per_s": -1.0}, "network_gib_per_s=-1.0: must be 0 or more"),
        ({"nics": ["eth0", "eth7"]}, "nics=eth7: unknown; there are eth0, eth1, lo"),
    ],
)
def test_settings_that_can_not_be(host: FakeHost, options: dict[str, object], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        telemetry_of(host, **options)


def test_an_unknown_device(host: FakeHost) -> None:
    with pytest.raises(BackendError, match="device=tpu: must be cpu or cuda"):
        NodeTelemetry("tpu", psutil=host)


# ---- network


def test_network_is_all_that_passed_but_loopback(host: FakeHost) -> None:
    telemetry = telemetry_of(host, network_gib_per_s=2.0)
    host.now_s += 4.0
    host.sent |= {"lo": 50.0, "eth0": 6.0, "eth1": 1.0}
    host.received |= {"lo": 50.0, "eth0": 13.0}
    sample = telemetry.sample()
    assert sample["network_gib_per_s"] == (2.0 + 4.0) / 4.0
    assert sample["network_utilisation_frac"] == 4.0 / 4.0 / 2.0  # the busier direction
    host.now_s += 1.0
    assert telemetry.sample()["network_gib_per_s"] == 0.0


def test_only_the_interfaces_that_were_named(host: FakeHost) -> None:
    telemetry = telemetry_of(host, nics=["lo"])
    host.now_s += 1.0
    host.sent |= {"lo": 2.0, "eth0": 6.0}
    sample = telemetry.sample()
    assert (sample["network_gib_per_s"], sample["network_utilisation_frac"]) == (2.0, 0.0)  # bandwidth isn't known


def test_an_interface_that_comes_counts_from_then_on(host: FakeHost) -> None:
    telemetry = telemetry_of(host)
    host.now_s += 1.0
    host.sent["eth2"], host.received["eth2"] = 70.0, 70.0
    assert telemetry.sample()["network_gib_per_s"] == 0.0


def test_two_samples_at_once_are_no_division_by_zero(host: FakeHost) -> None:
    telemetry = telemetry_of(host)
    sample = telemetry.sample(pids=[7])
    assert sample["cpu_utilisation_frac"] == sample["network_gib_per_s"] == 0.0


# ---- GPUs


def test_gpus_of_the_node_are_averaged() -> None:
    nvml = FakeNvml({0: (100, 80.0), 1: (50, 20.0), 2: (0, 0.0)})
    telemetry = with_gpus(nvml, 1, 2)
    sample = telemetry.sample()
    assert (sample["gpu_utilisation_frac"], sample["gpu_memory_utilisation_frac"]) == (0.25, 0.125)
    assert telemetry.why_no_gpu == ""
    assert with_gpus(nvml).sample()["gpu_utilisation_frac"] == 0.5  # none named: all


def test_a_gpu_that_falls_off_is_left_out_and_may_come_back() -> None:
    nvml = FakeNvml({0: (100, 40.0), 1: (50, 20.0)})
    telemetry = with_gpus(nvml, 0, 1)
    nvml.gpus[0] = (100, -1.0)
    sample = telemetry.sample()
    assert (sample["gpu_utilisation_frac"], sample["gpu_memory_utilisation_frac"]) == (0.5, 0.25)
    assert (telemetry.num_gpus_lost, telemetry.why_no_gpu) == (1, "")
    nvml.gpus[1] = (50, -1.0)
    assert telemetry.sample().keys().isdisjoint(GPU_MEASURES)
    assert telemetry.num_gpus_lost == 2
    assert telemetry.why_no_gpu == "GPU 0 is lost: GPU is lost; GPU 1 is lost: GPU is lost"
    nvml.gpus[0] = (80, 40.0)
    assert telemetry.sample()["gpu_utilisation_frac"] == 0.8
    assert telemetry.num_gpus_lost == 1


def test_a_gpu_that_is_not_there_is_told_at_once() -> None:
    telemetry = with_gpus(FakeNvml({0: (100, 40.0)}), 4)
    assert telemetry.why_no_gpu == "GPU 4 is lost: Invalid Argument"


def test_a_part_of_a_gpu_has_memory_only() -> None:
    telemetry = with_gpus(FakeNvml({0: (100, 40.0)}, has_rates=False), 0)
    sample = telemetry.sample()
    assert "gpu_utilisation_frac" not in sample
    assert sample["gpu_memory_utilisation_frac"] == 0.5
    assert telemetry.num_gpus_lost == 0


def test_indices_are_those_that_cuda_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-abc,-1,0")
    nvml = FakeNvml({0: (10, 1.0), 1: (20, 1.0), 2: (30, 1.0)}, names={"GPU-abc": 1})
    assert with_gpus(nvml, 0).sample()["gpu_utilisation_frac"] == 0.3
    assert with_gpus(nvml, 1).sample()["gpu_utilisation_frac"] == 0.2
    assert with_gpus(nvml).sample()["gpu_utilisation_frac"] == 0.25
    assert with_gpus(nvml, 2).why_no_gpu == "GPU 2 is lost: CUDA_VISIBLE_DEVICES=2,GPU-abc hides it"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES hides them" in with_gpus(nvml).why_no_gpu


def test_nvml_is_closed_once() -> None:
    nvml = FakeNvml({0: (100, 40.0)})
    telemetry = with_gpus(nvml, 0)
    assert nvml.num_open == 1
    telemetry.close()
    telemetry.close()
    assert nvml.num_open == 0
    assert telemetry.sample().keys().isdisjoint(GPU_MEASURES)
    assert telemetry.why_no_gpu == "closed"


def test_why_no_gpu(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(why_not="Driver Not Loaded")
    telemetry = with_gpus(nvml)
    assert telemetry.why_no_gpu == "no NVIDIA driver: Driver Not Loaded"
    assert telemetry.sample().keys().isdisjoint(GPU_MEASURES)
    telemetry.close()
    assert nvml.num_open == 0
    assert with_gpus(FakeNvml()).why_no_gpu.startswith("no GPU: none is there")
    assert telemetry_of(host).why_no_gpu == "device=cpu: GPUs are not looked for"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert NodeTelemetry("cuda", psutil=host).why_no_gpu.startswith("pynvml is not installed: pip install")


# ---- this machine


def test_this_process_on_this_machine() -> None:
    pytest.importorskip("psutil")
    pytest.importorskip("pynvml")
    telemetry = NodeTelemetry("cuda", network_gib_per_s=1.0)
    sample = telemetry.sample(pids=[os.getpid()])
    assert sample.keys() - GPU_MEASURES == MEASURES.keys() - GPU_MEASURES
    assert all(value >= 0 for value in sample.values())
    assert 0 < sample["memory_utilisation_frac"] < 1
    assert bool(telemetry.why_no_gpu) == sample.keys().isdisjoint(GPU_MEASURES)
    telemetry.close()


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(BackendError, match=r"psutil is not installed: pip install .*\[torch\]"):
        NodeTelemetry("cpu")


# ---- Prometheus


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exporter]:
    pytest.importorskip("prometheus_client")
    monkeypatch.setattr(BaseServer.serve_forever, "__defaults__", (0.01,))  # how often it looks whether to end
    exporter = Exporter(port=0)
    yield exporter
    exporter.close()


def scrape(exporter: Exporter) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=5) as page:
        return page.read().decode().splitlines()


def test_a_scrape_has_all_metrics_of_pools(exporter: Exporter) -> None:
    exporter.set("a100", dict.fromkeys(METRICS, 0.5))
    exporter.set("spot", {"queue_length": 3})
    lines = scrape(exporter)
    for name, meaning in METRICS.items():
        assert f"# HELP elastic_gpu_{name} {meaning}" in lines
        assert f"# TYPE elastic_gpu_{name} gauge" in lines
        assert f'elastic_gpu_{name}{{pool="a100"}} 0.5' in lines
    assert 'elastic_gpu_queue_length{pool="spot"} 3.0' in lines


def test_a_scrape_has_the_last_measures_of_nodes_and_no_others(exporter: Exporter) -> None:
    exporter.node("node-0", {"gpu_utilisation_frac": 0.1, "network_gib_per_s": 2.0})
    exporter.node("node-1", {"network_gib_per_s": 1.0})
    exporter.node("node-0", {"network_gib_per_s": 3.0})  # its GPU has fallen off
    lines = scrape(exporter)
    assert f"# HELP elastic_gpu_node_network_gib_per_s {MEASURES['network_gib_per_s']}" in lines
    assert [line for line in lines if not line.startswith("#")] == [
        'elastic_gpu_node_network_gib_per_s{node="node-0"} 3.0',
        'elastic_gpu_node_network_gib_per_s{node="node-1"} 1.0',
    ]
    exporter.forget_node("node-0")
    exporter.forget_node("never seen")
    assert "node-0" not in "\n".join(scrape(exporter))


def test_exporters_share_nothing_and_end(exporter: Exporter) -> None:
    exporter.set("a", {"queue_length": 1.0})
    other = Exporter(port=0)
    assert scrape(other) == []
    other.close()
    other.close()
    with pytest.raises(urllib.error.URLError):
        scrape(other)
    assert scrape(exporter) != []


def test_a_port_that_can_not_be_had() -> None:
    pytest.importorskip("prometheus_client")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BackendError, match=f"can't listen at 127.0.0.1:{port}: "):
            Exporter(port)
    with pytest.raises(BackendError, match=r"can't listen at 127\.0\.0\.1:70000"):
        Exporter(70000)


def test_without_prometheus_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(BackendError, match=r"needs prometheus-client: pip install .*\[torch\]"):
        Exporter(0)
