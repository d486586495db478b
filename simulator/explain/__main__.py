"""python -m simulator.explain RUN --at SECOND says why each scaling policy did, or did not, change something then.

python -m simulator.explain outputs/run --at 3600
python -m simulator.explain outputs/run --at 3600 --target chat
python -m simulator.explain outputs/run --changes --from 0 --to 7200

The run must have been made with explain=true.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence

from simulator.commands import Parser, complain
from simulator.errors import RunError
from simulator.explain.asked import Explained
from simulator.explain.sentences import seconds
from simulator.explain.told import chain_lines, change_lines, job_lines
from simulator.run import Run


def explanation(run: Run, at_s: float, target: str | None = None) -> Iterator[str]:
    """The lines of what was decided at a time, or last before it; of one target or of all of them.

    Raises:
        RunError: a run without reasons, a time outside it, a target that nobody scales.
    """
    explained = Explained(run)
    _check_time(run, "--at", at_s)
    if target is not None:
        explained.check(target)
    for name in explained.targets if target is None else [target]:
        asked = explained.at(name, at_s)
        yield from chain_lines(run, explained, asked) if asked else [f"{name}: not asked by {seconds(at_s)}"]
        yield ""
    yield from job_lines(run, at_s)


def changes(run: Run, from_s: float, to_s: float, target: str | None = None) -> Iterator[str]:
    """The lines of all changes between two times.

    Raises:
        RunError: as of `explanation`.
    """
    explained = Explained(run)
    _check_time(run, "--from", from_s)
    if not to_s >= from_s:
        raise RunError(f"--to {to_s:g}: must not be less than --from {from_s:g}")
    if target is not None:
        explained.check(target)
    lines = list(change_lines(explained, explained.targets if target is None else [target], from_s, to_s))
    yield from lines or [f"no change from {seconds(from_s)} to {seconds(min(to_s, float(run.facts['end_s'])))}"]


def _check_time(run: Run, option: str, time_s: float) -> None:
    end_s = float(run.facts["end_s"])
    if not 0 <= time_s <= end_s:
        raise RunError(f"{option} {time_s:g}: outside the run, which lasts from 0 to {seconds(end_s)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 2 for what a user can mend, told in one line."""
    parser = Parser(
        "python -m simulator.explain", description="Why scaling policies did, or did not, change something."
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run that was made with explain=true")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--at", type=float, metavar="SECOND", help="explains what was decided then, or last before")
    what.add_argument("--changes", action="store_true", help="lists all changes, one a line")
    parser.add_argument("--target", metavar="NAME", help="of a pool or a service; default: all of them")
    parser.add_argument("--from", type=float, default=0.0, metavar="SECOND", dest="from_s", help="of --changes")
    parser.add_argument("--to", type=float, default=math.inf, metavar="SECOND", dest="to_s", help="of --changes")
    options = parser.parse_args(arguments)
    if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # → in a pipe that knows ASCII only
    try:
        run = Run.load(options.run)
        if options.changes:
            lines = changes(run, options.from_s, options.to_s, options.target)
        else:
            lines = explanation(run, options.at, options.target)
        print("\n".join(lines), flush=True)
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except RunError as error:
        return complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
