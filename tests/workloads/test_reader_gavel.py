"""Gavel."""

from __future__ import annotations

import gzip
import json
import math

import pytest

from workloads import TraceError, WorkloadError

RESNET = "ResNet-18 (batch size 16)"
RATES = {
    "v100": {
        f"('{RESNET}', 1)": {"null": 20.0, f"('{RESNET}', 1)": [1.0, 2.0]},
        f"('{RESNET}', 2)": {"null": 40.0},
        "('A3C', 1)": {"null": 0.0},
    },
    "k80": {f"('{RESNET}', 1)": {"null": 4.0}},
}


def line(job_type=RESNET, steps="1000", scale="1", weight="1", slo="-1.0", arrival="0"):
    return f"{job_type}\tpython3 main.py --x\tdir\t--num_steps\t1\t{steps}\t{scale}\t{weight}\t{slo}\t{arrival}\n"


@pytest.fixture
def rates(write):
    return write("rates.json.gz", json.dumps(RATES))


def test_steps_become_seconds(load, write, rates):
    trace = load(
        "gavel", path=write("t.trace", line() + line(steps="400", scale="2", arrival="7.5")), throughputs=rates
    )
    assert trace.jobs.duration_s.tolist() == [50, 10]
    assert trace.jobs.num_gpus.tolist() == [1, 2]
    assert trace.jobs.submit_s.tolist() == [0, 7.5]
    assert trace.jobs.spec(0).model == RESNET
    assert trace.report.notes == ["duration_s is total_steps / the measured throughput on v100"]
    slow = load("gavel", path=write("t.trace", line()), throughputs=rates, gpu_type="k80")
    assert slow.jobs.duration_s.tolist() == [250]


def test_weight_and_deadline(load, write, rates):
    text = line(weight="5", slo="1.5", arrival="100") + line(slo="-1", arrival="100") + line(slo="0", arrival="100")
    first, second, third = load("gavel", path=write("t.trace", text), throughputs=rates).jobs
    assert (first.weight, first.deadline_s) == (5, 100 + 1.5 * 50)
    assert second.deadline_s == third.deadline_s == math.inf


def test_throughputs_are_needed(load, write):
    with pytest.raises(WorkloadError, match=r"work in steps, not seconds; set throughputs= to Gavel's simulation_thr"):
        load("gavel", path=write("t.trace", line()))


def test_drops_are_counted(load, write, rates):
    trace = load("gavel", path=write("t.trace", line() + line(steps="0") + line("A3C")), throughputs=rates)
    assert trace.report.dropped == {"has no steps to do": 1, "throughput on v100 is 0: it doesn't fit": 1}
    with pytest.raises(TraceError, match="holds no jobs; 1 rows dropped: has no steps to do"):
        load("gavel", path=write("t.trace", line(steps="0")), throughputs=rates)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            line("ResNet-18 (batch size 17)"),
            r"t\.trace:2: column 'job_type': .*: has no throughput on v100; did you mean",
        ),
        (line(scale="3"), r"t\.trace:2: column 'job_type': .*: has throughputs on v100 for 1, 2 GPUs, not for 3"),
        (line(steps="many"), r"t\.trace:2: column 'total_steps': 'many': is not a number"),
        (line(weight="0"), r"t\.trace:2: column 'priority_weight': 0\.0: must be a finite number, more than 0"),
        (line(arrival="-1"), r"t\.trace:2: column 'arrival_time': -1\.0: must be a finite number of seconds"),
        ("A3C\tpython3\t--max-steps\t0\t6948\t0\t1\n", r"t\.trace:2: .*: has 7 fields where 10 are due \(job_type, "),
    ],
)
def test_bad_lines(load, write, rates, bad, message):
    with pytest.raises(TraceError, match=message):
        load("gavel", path=write("t.trace", line() + bad), throughputs=rates)


def test_bad_throughputs(load, write, rates):
    path = write("t.trace", line())
    with pytest.raises(WorkloadError, match=r"gpu_type='v10': .* has v100, k80; did you mean 'v100'\?"):
        load("gavel", path=path, throughputs=rates, gpu_type="v10")
    with pytest.raises(WorkloadError, match="throughputs is read from"):
        load("gavel", path=path, throughputs="nowhere.json")
    with pytest.raises(TraceError, match=r"rates\.json:1: is not JSON"):
        load("gavel", path=path, throughputs=write("rates.json", "{"))
    with pytest.raises(TraceError, match=r"column 'v100': '__import__\(1\)': must be a key like"):
        load("gavel", path=path, throughputs=write("rates.json", '{"v100": {"__import__(1)": {"null": 1}}}'))


def test_the_real_throughputs(load, write, traces):
    file = traces / "gavel" / "simulation_throughputs.json.gz"
    trace = load("gavel", path=write("t.trace", line() + line(scale="2")), throughputs=str(file))
    measured = json.loads(gzip.decompress(file.read_bytes()))["v100"]
    rates = [measured[f"('{RESNET}', {scale})"]["null"] for scale in (1, 2)]
    assert trace.jobs.duration_s.tolist() == pytest.approx([1000 / rate for rate in rates])
