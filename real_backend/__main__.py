"""`python -m real_backend COMMAND …`: live runs, and how far the simulator is off.

calibrate model=resnet device=cpu          measures step times and move costs, into a profile
calibrate serving=gpt device=cpu           measures prefill and decode steps of a GPT, into a profile for services
run workload=live_small compute=paced      a live run; the same record files as a simulated one
validate allocation=fifo,srtf,fair_share   live, then simulated with the profile, then fidelity.json and report.html
report FOLDER                              the report again, from a validation's runs
agent --join HOST:PORT                     a node, for a controller that runs elsewhere

Settings are those of `python -m simulator`, and the ones in conf/live.yaml; for serving=gpt, those in
conf/calibrate_serving.yaml and conf/serving alone. hydra.run.dir=FOLDER says where to.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

# Workers import this module anew: what is slow or large is imported by the command that needs it.

COMMANDS = ("calibrate", "run", "validate", "report", "agent")
FAILED, MISUSED, STOPPED = 1, 2, 130  # exit codes, as of python -m simulator


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wants_help = not {"-h", "--help"}.isdisjoint(given)
    if not given or (wants_help and given[0] != "agent"):  # which has options of its own
        print(__doc__)
        return 0
    if given[0] not in COMMANDS:
        from workloads.options import nearest

        return complain(f"unknown command {given[0]!r}{nearest(given[0], COMMANDS)}", MISUSED)
    try:
        import torch  # noqa: F401
    except ImportError:
        return complain("the live backend needs torch: pip install -c constraints.txt -e '.[torch]'", MISUSED)
    if given[0] == "agent":
        from real_backend.agent import main as run_agent

        return run_agent(given[1:])
    from real_backend.commands import run_command

    return run_command(given[0], given[1:])


def complain(message: str, code: int) -> int:
    """As `simulator.commands.complain`, whose import would take an agent half a second; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
