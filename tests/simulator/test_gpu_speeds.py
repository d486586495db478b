"""Step times by the type of GPU: as measured, by a factor with its source, and what isn't known."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.speeds import Speeds
from workloads import WorkloadError
from workloads.gpu_speeds import ByGpu
from workloads.options import build
from workloads.profile import load_profile

T4, A100 = load_profile("sia_t4"), load_profile("sia_a100")
H100 = {"profile": "sia_a100", "times_as_fast": {"imagenet": 1.846}, "source": "MLPerf, 2023-06"}


def by_gpu(**options: Any) -> ByGpu:
    return build(ByGpu, {"gpus": {"T4": {"profile": "sia_t4"}, "A100-40GB": {"profile": "sia_a100"}, "H100-80GB": H100},
                         **options}, prefix="step_time.")  # fmt: skip


def test_on_the_gpus_that_durations_are_stated_on_nothing_changes() -> None:
    speeds = Speeds(by_gpu().on("A100-40GB"), gpus_per_node=8)
    assert speeds.rate("bert", 4, 4, 1) == 1.0
    assert speeds.rate("bert", 16, 16, 2) == 1.0
    assert speeds.rate("bert", 4, 8, 1) == pytest.approx(A100.step_time_s("bert", 4) / A100.step_time_s("bert", 8))


def test_slower_gpus_in_smaller_nodes() -> None:
    """A job that asked for 8 A100s, which are on one node, is on two nodes of 4 T4s."""
    speeds = Speeds(by_gpu().on("T4"), gpus_per_node=4)
    rate = speeds.rate("imagenet", 8, 8, 2)
    assert rate == pytest.approx(A100.step_time_s("imagenet", 8, 1) / T4.step_time_s("imagenet", 8, 2))
    assert 0.2 < rate < 0.4
    assert speeds.notes() == []
    speeds.rate("imagenet", 64, 64, 16)
    assert speeds.notes()[0].startswith(
        "step times are extrapolated, beyond what was measured, for imagenet on 64 GPUs"
    )


def test_a_factor_is_of_the_models_that_it_is_known_of() -> None:
    h100 = by_gpu().on("H100-80GB")
    assert h100.stated_step_time_s("imagenet", 4) / h100.step_time_s("imagenet", 4) == pytest.approx(1.846)
    with pytest.raises(WorkloadError, match="times_as_fast: none of model 'bert'; known: imagenet"):
        h100.step_time_s("bert", 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stated_on": "A100"}, r"stated_on=A100: step_time\.gpus has no speed of it; did you mean A100-40GB"),
        ({"stated_gpus_per_node": 0}, "stated_gpus_per_node=0: must be 1 or more"),
        ({"gpus": {"A100-40GB": {"profile": "sia_a100", "times_as_fast": {"bert": 2}}}}, "source=: is needed"),
        ({"gpus": {"A100-40GB": {"profile": "sia_a100", "times_as_fast": {"bert": 0}, "source": "x"}}}, "more than 0"),
        ({"gpus": {"A100-40GB": {"profil": "sia_a100"}}}, r"gpus\.A100-40GB\.profil: unknown option"),
    ],
)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        by_gpu(**options)
    with pytest.raises(WorkloadError, match=r"gpu_type=L4: step_time\.gpus has no speed of it"):
        by_gpu().on("L4")
