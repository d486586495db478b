"""Profiles: exact values by hand, a round trip through a file, and what is wrong with a file in one line."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from tests.small_profile import TEXT, write_small
from workloads import StepTimeModel, WorkloadError
from workloads.profile import MoveStages, Profile, Profiled, load_profile, write_profile
from workloads.step_time_fit import StepTimeFit

SHIPPED = sorted(Path(each.name).stem for each in files("workloads").joinpath("profiles").iterdir())


@pytest.fixture
def small(tmp_path: Path) -> Profile:
    return load_profile(write_small(tmp_path))


def test_step_time_by_hand(small: Profile) -> None:
    assert isinstance(small, StepTimeModel)
    assert small.step_time_s("resnet", 4) == pytest.approx(0.02 + 64 * 0.01 + 0.1)
    assert small.step_time_s("resnet", 8, 2) == pytest.approx(0.02 + 32 * 0.01 + 0.3)
    # 256 samples on one GPU: four passes of 64; on three: 86 each, two passes of 43, and one synchronisation
    assert small.step_time_s("resnet", 1) == pytest.approx(4 * (0.02 + 64 * 0.01))
    assert small.step_time_s("resnet", 3) == pytest.approx(2 * (0.02 + 43 * 0.01) + 0.1)
    assert small.step_time_s("bert", 4) == pytest.approx(0.3)
    assert small.step_time_s("bert", 8) == pytest.approx(0.1)
    # the table is straight in the logarithms, beyond its end with its overall slope, here a half
    assert small.step_time_s("bert", 1) == pytest.approx(0.2 * np.sqrt(2))


def test_what_was_not_measured_is_extrapolated(small: Profile) -> None:
    assert not small.is_extrapolated("resnet", 8, 4)
    assert small.is_extrapolated("resnet", 9, 4)  # GPUs
    assert small.is_extrapolated("resnet", 8, 5)  # nodes
    assert small.is_extrapolated("bert", 1)  # 64 samples a GPU; 32 were measured
    assert not small.is_extrapolated("bert", 2)


def test_overlap() -> None:
    fit = StepTimeFit(form="linear", gamma=2.0, compute_fixed_s=3.0, local_sync_s=4.0)
    assert fit.step_time_s(2, 1, 7) == pytest.approx(5.0)
    assert fit.step_time_s(1, 1, 7) == 3.0
    assert fit.step_time_s(2, 1, 7, accumulation=3) == pytest.approx(2 * 3.0 + 5.0)


def test_sync() -> None:
    given = {"local_sync_s": 1.0, "local_sync_slope_s": 0.5, "nodes_sync_s": 2.0, "nodes_sync_slope_s": 0.25}
    fit = StepTimeFit(form="linear", compute_fixed_s=1.0, **given, nodes_sync_share_slope_s=0.125)  # type: ignore[arg-type]
    assert [fit.sync_s(gpus) for gpus in (1, 2, 4)] == [0.0, 1.0, 2.0]
    assert fit.sync_s(8, 2) == 2.0 + 6 * 0.25 + 3 * 0.125
    assert fit.sync_s(8, 2, share=7) == 2.0 + 6 * 0.25 + 6 * 0.125  # 7 and 1
    log = replace(fit, sync_growth="log")
    assert [log.sync_s(gpus) for gpus in (1, 2, 8)] == [0.0, 1.0, 2.0]
    assert log.sync_s(8, 2) == 2.0 + 2 * 0.25 + 2 * 0.125
    np.testing.assert_array_equal(log.sync_s(np.array([1, 8]), np.array([1, 2])), [0.0, log.sync_s(8, 2)])


def test_contention() -> None:
    fit = StepTimeFit(form="linear", compute_fixed_s=2.0, share_most_frac=0.5, share_rate=1.0)
    assert fit.compute_s(8) == 2.0
    assert fit.compute_s(8, 2) == pytest.approx(2.0 * (1 + 0.5 * (1 - np.exp(-1))))
    assert fit.compute_s(8, 100) == pytest.approx(3.0)


def test_moves() -> None:
    stages = MoveStages(spawn_s=1, import_s=2, rendezvous_s=4, restore_s=8, first_step_s=16, save_s=32, teardown_s=64)
    assert (stages.start_s, stages.join_s, stages.restart_s) == (23, 31, 127)


def test_round_trip(small: Profile, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "again.yaml"
    write_profile(small, path)
    assert load_profile(path) == small
    assert [each.name for each in path.parent.iterdir()] == ["again.yaml"]
    assert small.provenance["date"] == "2026-11-24"


def test_a_file_is_written_whole_or_not_at_all(small: Profile, tmp_path: Path) -> None:
    path = tmp_path / "again.yaml"
    write_profile(small, path)
    before = path.read_text()
    with pytest.raises(Exception, match="represent"):
        write_profile(replace(small, provenance={"source": object()}), path)
    assert path.read_text() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["again.yaml", "small.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: small", "nam: small", "nam: unknown option; did you mean name"),
        ("name: small\n", "", "name: is needed"),
        ("sync: allreduce", "sync: allreduse", "models.resnet: sync=allreduse: .*did you mean allreduce"),
        ("global_batch: 256", "global_batch: 2.5", "models.resnet: global_batch=2.5: must be a whole number"),
        ("global_batch: 256", "global_batch: 0", "models.resnet: global_batch=0: must be 1 or more"),
        ("compute_fixed_s: 0.02", "compute_fixd_s: 0.02", "step_time.compute_fixd_s: unknown option; did you mean"),
        ("compute_fixed_s: 0.02", "compute_fixed_s: -1", "compute_fixed_s=-1.0: must be a number, 0 or more"),
        ("compute_fixed_s: 0.02", "compute_fixed_s: .nan", "compute_fixed_s=nan: must be a number, 0 or more"),
        ("compute_fixed_s: 0.02", "gamma: 11", "gamma=11.0: must lie in 1..10"),
        ("form: linear", "form: cubic", "form=cubic: unknown form"),
        ("[8, 16, 32]", "[8, 16]", "has 2 and table_compute_s 3 numbers"),
        ("[8, 16, 32]", "[8, 32, 16]", "the batches rise"),
        ("gpus: [1, 8]", "gpus: [8, 1]", r"gpus=\[8, 1\]: must be the least and the most"),
        ("median_error_frac: 0.03", "median_error_frac: -1", "median_error_frac=-1.0: must be a number, 0 or more"),
        ("in_place:", "inplace:", "moves.inplace: unknown method; did you mean in_place"),
        ("spawn_s: 1,", "spwan_s: 1,", "moves.restart.spwan_s: unknown option; did you mean spawn_s"),
        ("provision_s: 2.5", "provision_s: -1", "provision_s=-1.0: must be a number of seconds"),
        ("  bert:", "  resnet:", "'resnet' is there twice"),
        ("name: small", "name: [small", "expected"),
        ("name: small", "path: x\nname: small", "path: unknown option"),
    ],
)  # fmt: skip
def test_a_bad_file(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path = write_small(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(WorkloadError, match=rf"^{path}.*{message}") as error:
        load_profile(path)
    assert "\n" not in str(error.value)


def test_no_such_profile(tmp_path: Path, small: Profile) -> None:
    with pytest.raises(WorkloadError, match=r"^profile=sia_t5: no such profile; did you mean sia_t4"):
        load_profile("sia_t5")
    with pytest.raises(WorkloadError, match=rf"^{tmp_path}/none.yaml: No such file"):
        load_profile(tmp_path / "none.yaml")
    with pytest.raises(WorkloadError, match=r"small.yaml: models: no model 'resnt'; did you mean resnet"):
        small.step_time_s("resnt", 1)
    path = write_small(tmp_path, "[1, 2]")
    with pytest.raises(WorkloadError, match="holds list: must hold a mapping"):
        load_profile(path)


def test_as_a_choice(tmp_path: Path, small: Profile) -> None:
    path = write_small(tmp_path)
    strict, lenient = Profiled(path), Profiled(path, default_model="resnet")
    assert isinstance(strict, StepTimeModel)
    assert strict.step_time_s("resnet", 2) == lenient.step_time_s("gpt", 2) == small.step_time_s("resnet", 2)
    assert lenient.is_extrapolated("gpt", 9)
    with pytest.raises(WorkloadError, match="no model 'gpt'"):
        strict.step_time_s("gpt", 2)
    with pytest.raises(WorkloadError, match=r"default_model=resnt: not in .*small.yaml; did you mean resnet"):
        Profiled(path, default_model="resnt")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    for what in ("source", "machine", "versions", "date", "command"):
        assert profile.provenance[what], what
    for model, of in profile.models.items():
        assert of.holdout is not None
        low, high = of.range.gpus
        assert 0 < profile.step_time_s(model, high) < 1e3
        assert profile.step_time_s(model, low) > 0
