"""python -m simulator.compare FOLDER... compares runs: one table, comparison.csv, pareto.csv and figures.

python -m simulator.compare multirun/2026-01-31/12-00-00
python -m simulator.compare outputs/fifo outputs/srtf --baseline allocation=fifo --out figures
python -m simulator.compare sweep --pareto cost_usd,queueing_p95_s --at-most 600
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from simulator.commands import Parser, complain
from simulator.comparison import Comparison, compare
from simulator.comparison_table import print_table, write_csv
from simulator.errors import ConfigError, RunError
from simulator.pareto import USUAL, Point, Tradeoff, points_of, told, write_pareto
from simulator.run import SUMMARY, Run, find_runs

_SHOWN = 5


def compare_folders(
    folders: Sequence[Path | str],
    console: Console,
    out: Path | None = None,
    by: Sequence[str] | None = None,
    baseline: Mapping[str, str] | None = None,
    tradeoff: Tradeoff = USUAL,
    preferred: Sequence[Mapping[str, str]] = (),
) -> Comparison:
    """Compares the finished runs in and below `folders`: prints the table and what to know about it, writes files.

    Args:
        tradeoff: of pareto.csv and its figure.
        preferred: as of `compare`.
        out: where comparison.csv and the figures go; None: the first folder if it is a sweep's, else outputs/compare.

    Raises:
        RunError: no finished run, or what was asked for can't be compared.
    """
    runs, left_out = [], []
    for folder in find_runs(folders):
        try:
            runs.append(Run.load(folder))
        except RunError as error:
            left_out.append(str(error))
    if not runs:
        raise RunError(f"no finished run to compare; {left_out[0]}")
    comparison = compare(runs, by, baseline, preferred)
    print_table(comparison, console)
    more = [f"and {len(left_out) - _SHOWN} more"] if len(left_out) > _SHOWN else []
    notes = [*comparison.notes, *(f"left out: {each}" for each in [*left_out[:_SHOWN], *more])]
    points = _points(comparison, tradeoff)
    for note in [*_legend(comparison), *notes, *(told(points, tradeoff) if points else [])]:
        console.print(f"• {note}", markup=False, highlight=False, soft_wrap=True)
    first = Path(folders[0])
    is_sweep = not (first / SUMMARY).is_file()
    out = out or (first if is_sweep else Path("outputs/compare"))
    for path in write_comparison(comparison, points, tradeoff, out):
        if path.suffix != ".svg":
            console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return comparison


def write_comparison(comparison: Comparison, points: Sequence[Point], tradeoff: Tradeoff, folder: Path) -> list[Path]:
    """Writes comparison.csv, pareto.csv if there are points, and the figures into `folder`; returns their paths.

    Raises:
        RunError: the folder can't be written to, or a run's tables can't be read.
    """
    from simulator.figures import draw_comparison  # imported here: it isn't needed for a table alone

    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / "comparison.csv"]
        write_csv(comparison, paths[0])
        if points:
            paths.append(folder / "pareto.csv")
            write_pareto(points, tradeoff, paths[1])
        return [*paths, *draw_comparison(comparison, folder, tradeoff)]
    except OSError as error:
        raise RunError(f"{folder}: can't be written to ({error.strerror or error})") from None


def _points(comparison: Comparison, tradeoff: Tradeoff) -> list[Point]:
    """None where there is nothing of what is usually held against each other, such as JCT without jobs."""
    try:
        return points_of(comparison, tradeoff)
    except RunError:
        if (tradeoff.x, tradeoff.y) == (USUAL.x, USUAL.y):
            return []
        raise


def _legend(comparison: Comparison) -> list[str]:
    legend = []
    if comparison.num_seeds > 1:
        legend.append("±: half of the 95% confidence interval over seeds (Student's t)")
    bases = list(dict.fromkeys(base.name for base in comparison.baselines if base))
    if bases:
        paired = ", paired by seed" if comparison.num_seeds > 1 else ""
        legend.append(f"Δ: difference to {' / '.join(bases)}{paired}")
    return legend


def _pairs(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    pairs = [part.split("=", 1) for part in text.split(",")]
    if any(len(pair) != 2 or not pair[0] for pair in pairs):
        raise RunError(f"--baseline {text}: must read label=value, or several with commas between")
    return {pair[0]: pair[1] for pair in pairs}


def _tradeoff(metrics: str | None, at_most: float | None) -> Tradeoff:
    x, _, y = (metrics or f"{USUAL.x},{USUAL.y}").partition(",")
    if not (x and y) or "," in y:
        raise RunError(f"--pareto {metrics}: must read METRIC,METRIC")
    try:
        return Tradeoff(x=x, y=y, at_most=at_most)
    except ConfigError as error:
        raise RunError(f"--pareto {metrics}: {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status: 2 for what a user can mend, told in one line."""
    parser = Parser(
        "python -m simulator.compare", description="Compares runs: a table, comparison.csv, pareto.csv and figures."
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="of a run, or of a sweep with runs in it")
    parser.add_argument("--baseline", metavar="LABEL=VALUE[,...]", help="what differences are to; default: the first")
    parser.add_argument("--by", metavar="LABEL[,...]", help="labels to group by; default: those that differ")
    parser.add_argument("--pareto", metavar="X,Y", help=f"metrics of pareto.csv; default: {USUAL.x},{USUAL.y}")
    parser.add_argument("--at-most", type=float, metavar="VALUE", help="the objective for Y: those that meet it first")
    parser.add_argument("--out", type=Path, help="default: the first folder, if it is a sweep's; else outputs/compare")
    options = parser.parse_args(arguments)
    if not sys.stdout.isatty() and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # ± in a pipe that knows ASCII only
    try:
        by = options.by.split(",") if options.by else None
        tradeoff = _tradeoff(options.pareto, options.at_most)
        compare_folders(options.folders, Console(), options.out, by, _pairs(options.baseline), tradeoff)
    except RunError as error:
        return complain(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
