"""A GPU cluster in simulated time. Read `simulation.py`, then `cluster.py`; what a run leaves behind: `records.py`.

from simulator import PoolSpec, Scenario, simulate

run = simulate(Scenario(jobs=jobs, allocation=Fifo(), placement=Consolidate(), pools=[PoolSpec(num_nodes=8)]))
run.jobs  # a pandas frame, a row a job
"""

from simulator.errors import ConfigError, RunError, SimulationError
from simulator.pools import PoolSpec
from simulator.run import Run, find_runs
from simulator.scenario import Scenario
from simulator.simulation import Simulation, simulate

__all__ = [
    "ConfigError",
    "PoolSpec",
    "Run",
    "RunError",
    "Scenario",
    "Simulation",
    "SimulationError",
    "find_runs",
    "simulate",
]
