"""Services are simulated only: a live run that is asked for one says so, before anything starts."""

from __future__ import annotations

import pytest

from real_backend.commands import composed
from real_backend.errors import BackendError
from real_backend.running import make_plan

SMALL = ("workload=live_tiny", "compute=paced", "device=cpu")


@pytest.mark.parametrize(
    ("override", "given"),
    [
        ("requests=poisson", "requests=poisson"),
        ("requests.name=diurnal", "requests=diurnal"),
        ("+services.chat={requests: {name: poisson}}", "services.chat"),
    ],
)
def test_a_live_run_refuses_services(override: str, given: str) -> None:
    settings, _ = composed([*SMALL, override])
    with pytest.raises(BackendError) as error:
        make_plan(settings)
    assert str(error.value) == (
        f"{given}: services are simulated only (python -m simulator); live runs have training jobs"
    )
