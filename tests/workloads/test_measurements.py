"""Readers of measured step times: what a row means, and one line for each mistake."""

from __future__ import annotations

import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workloads import WorkloadError
from workloads.measurements import SOURCES, source_class
from workloads.measurements.gavel import GavelMeasurements
from workloads.measurements.sia import SiaMeasurements

PLACEMENTS = "placement,local_bsz,step_time,sync_time\n1,8,0.5,0.001\n44,8,0.9,0.3\n13,16,0.8,0.2\n"
SCALABILITY = "local_bsz,step_time,sync_time,num_nodes,num_replicas\n8,0.91,0.31,2,8\n8,1.5,0.7,3,8\n"
FILES = {
    "bert/placements-aws.csv": PLACEMENTS,
    "bert/placements.csv": PLACEMENTS,
    "bert/scalability-aws.csv": SCALABILITY,
    "bert/validation-12.csv": "iteration\n1\n",
    "bert/validation-48.csv": "iteration\n1\n",
    "bert/validation-24.csv": "iteration\n1\n",
    "bert/placements-dgx-ext.csv": PLACEMENTS,
    "gpt_pmp/placements-rtx.csv": PLACEMENTS,
}
THROUGHPUTS = {
    "v100": {
        "('LM (batch size 5)', 1)": {"null": 100.0, "('LM (batch size 5)', 1)": [50.0, 50.0]},
        "('LM (batch size 5)', 4)": {"null": 80.0},
        "('LM (batch size 10)', 1)": {"null": 0.0},
        "('A3C', 1)": {"null": 4.0},
    },
    "v100_unconsolidated": {"('LM (batch size 5)', 1)": {"null": 100.0}, "('LM (batch size 5)', 4)": {"null": 40.0}},
}


def folder_of(path: Path, files: dict[str, str] = FILES) -> Path:
    for name, text in files.items():
        file = path / "profiles" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path / "profiles"


def gavel_of(path: Path, content: Any) -> Path:
    file = path / "throughputs.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_names() -> None:
    assert [source_class(name).__name__ for name in SOURCES] == ["SiaMeasurements", "GavelMeasurements"]
    with pytest.raises(WorkloadError, match="source=sai: unknown source; did you mean sia"):
        source_class("sai")


def test_sia(tmp_path: Path) -> None:
    a100, t4, stages = SiaMeasurements(path=folder_of(tmp_path)).read()
    assert [(each.application, each.gpu_type) for each in (a100, t4, stages)] == [
        ("bert", "a100"),
        ("bert", "t4"),
        ("gpt_pmp", "rtx_2080_ti"),
    ]
    rows = t4.rows
    assert rows.share is not None
    assert rows.sync_s is not None
    np.testing.assert_array_equal(
        np.c_[rows.num_gpus, rows.num_nodes, rows.share, rows.batch_per_gpu, rows.step_s, rows.sync_s],
        [[1, 1, 1, 8, 0.5, 0.001], [8, 2, 4, 8, 0.9, 0.3], [4, 2, 3, 16, 0.8, 0.2]],
    )
    assert t4.global_batch == 24  # the middle one that was trained with
    # 8 GPUs on 2 nodes are placement 44 again; on 3 they are 3, 3 and 2
    assert t4.left_out == {"settings of a placements file again, in a scalability file": 1}
    assert t4.larger is not None
    assert t4.larger.share is not None
    assert (t4.larger.num_nodes.tolist(), t4.larger.share.tolist()) == ([3], [3])
    assert a100.larger is None
    assert not t4.why_no_profile
    assert stages.why_no_profile


def test_sia_with_its_larger_gangs(tmp_path: Path) -> None:
    _, t4, _ = SiaMeasurements(path=folder_of(tmp_path), scalability=True).read()
    assert t4.rows.num_nodes.tolist() == [1, 2, 2, 3]
    assert t4.larger is None


def test_sia_from_a_tar(tmp_path: Path) -> None:
    folder, path = folder_of(tmp_path), tmp_path / "profiles.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "profiles")
    for read, same in zip(SiaMeasurements(path=path).read(), SiaMeasurements(path=folder).read(), strict=True):
        assert (read.application, read.gpu_type, read.global_batch) == (
            same.application,
            same.gpu_type,
            same.global_batch,
        )
        np.testing.assert_array_equal(read.rows.step_s, same.rows.step_s)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("placements-aws", PLACEMENTS.replace("44", "40"), "placements-aws.csv:3: column 'placement': '40': must be"),
        ("placements-aws", PLACEMENTS.replace("44", "4x"), "placements-aws.csv:3: column 'placement': '4x': must be"),
        ("placements-aws", PLACEMENTS.replace("0.9", "0"), "placements-aws.csv:3: column 'step_time': '0': must be"),
        ("placements-aws", PLACEMENTS.replace("0.9", "nan"), "placements-aws.csv:3: column 'step_time': 'nan': must"),
        ("placements-aws", PLACEMENTS.replace("44,8", "44,8.5"), "column 'local_bsz': '8.5': must be a whole number"),
        ("placements-aws", PLACEMENTS.replace("44,8,0.9,0.3", "44,8"), ":3: column 'step_time': must be a number"),
        ("placements-aws", PLACEMENTS.replace("local_bsz", "batch"), "csv:1: column 'local_bsz': is not"),
        ("placements-aws", PLACEMENTS.partition("\n")[0], "bert/placements-aws.csv: has no row but its header"),
        ("scalability-aws", SCALABILITY.replace("3,8", "9,8"), "csv:3: column 'num_replicas': '8': must"),
    ],
)  # fmt: skip
def test_sia_refuses(tmp_path: Path, file: str, text: str, message: str) -> None:
    folder = folder_of(tmp_path, {**FILES, f"bert/{file}.csv": text})
    with pytest.raises(WorkloadError, match=message) as error:
        SiaMeasurements(path=folder).read()
    assert str(folder) in str(error.value)


def test_sia_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match=r"holds no APPLICATION/placements-GPU.csv"):
        SiaMeasurements(path=tmp_path).read()
    with pytest.raises(WorkloadError, match=r"source.path=none: no such file or folder"):
        SiaMeasurements(path=Path("none")).read()
    (tmp_path / "a.tar").write_text("no tar")
    with pytest.raises(WorkloadError, match=r"a.tar: can't be read as a tar"):
        SiaMeasurements(path=tmp_path / "a.tar").read()


def test_gavel(tmp_path: Path) -> None:
    a3c, lm = GavelMeasurements(path=gavel_of(tmp_path, THROUGHPUTS)).read()
    assert (a3c.application, a3c.gpu_type, a3c.rows.step_s.tolist()) == ("A3C", "v100", [0.25])
    assert (lm.application, lm.gpu_type) == ("LM", "v100")
    rows = lm.rows  # four GPUs do 80 steps a second between them: each of them 20
    np.testing.assert_array_equal(
        np.c_[rows.num_gpus, rows.num_nodes, rows.batch_per_gpu, rows.step_s],
        [[1, 1, 5, 0.01], [4, 1, 5, 0.05], [4, 4, 5, 0.1]],
    )
    assert lm.left_out == {"throughput 0": 1}
    path = tmp_path / "throughputs.json.gz"
    path.write_bytes(gzip.compress(json.dumps(THROUGHPUTS).encode()))
    assert len(GavelMeasurements(path=path).read()) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n{", "throughputs.json:2: is no JSON"),
        ([], r"column '\(all\)': \[\]: must be a mapping"),
        ({"v100": 3}, "column 'v100': 3: must be a mapping"),
        ({"v100": {"LM": {"null": 1.0}}}, "column 'v100.LM': 'LM': must read"),
        ({"v100": {"('LM', 0)": {"null": 1.0}}}, "must read"),
        ({"v100": {"('LM', 1)": {"null": -1.0}}}, "-1.0: must be steps a second, 0 or more"),
        ({"v100": {"('LM', 1)": {"null": "x"}}}, "'x': must be steps a second"),
        ({"v100": {"('LM', 1)": {}}}, "must be steps a second"),
        ({"v100": {"('LM', 1)": {"null": 0}}}, "holds no throughput above 0"),
    ],
)
def test_gavel_refuses(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        GavelMeasurements(path=gavel_of(tmp_path, content)).read()


def test_gavel_where_nothing_is() -> None:
    with pytest.raises(WorkloadError, match=r"source.path=none: no such file"):
        GavelMeasurements(path=Path("none")).read()


def test_the_published_files(traces: Path) -> None:
    sia = {
        (each.application, each.gpu_type): each for each in SiaMeasurements(path=traces / "sia/profiles.tar.gz").read()
    }
    assert len(sia) == 38
    assert len(sia["yolov3", "a100"].rows) == 308
    assert sia["bert", "t4"].rows.range.gpus == (1, 16)
    larger = sia["bert", "t4"].larger
    assert larger is not None
    assert larger.range.gpus == (6, 64)
    assert sia["bert", "t4"].global_batch == 96
    gavel = GavelMeasurements(path=traces / "gavel/simulation_throughputs.json.gz").read()
    assert {each.gpu_type for each in gavel} == {"k80", "p100", "v100"}
    assert max(len(each.rows) for each in gavel) == 35
