"""An explanation as lines of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from simulator.explain.asked import Asked, Explained
from simulator.explain.outcome import Unit, coming, ordered, removed
from simulator.explain.sentences import number, plainly, seconds, sentence, several, title
from simulator.moves import Moves
from simulator.run import Run

_MOST_JOBS = 10  # that are named
Rows = Iterator[tuple[str, str]]  # (what, its text)


def chain_lines(run: Run, explained: Explained, asked: Asked) -> list[str]:
    """What a policy said, what came of it, and what changed next; the first line is a heading."""
    return [heading(asked), *_aligned(_chain_rows(run, explained, asked))]


def heading(asked: Asked) -> str:
    """The target, when it was asked for, and the change."""
    return f"{asked.target}, asked at {seconds(asked.time_s)}: {change_of(asked)}"


def change_of(asked: Asked) -> str:
    if not asked.change:
        return f"{several(asked.num_units, asked.units)}, and no change"
    return f"{number(asked.num_units)} → {several(asked.count, asked.units)}"


def _chain_rows(run: Run, explained: Explained, asked: Asked) -> Rows:
    waiting = f" ({number(asked.pending)} wait for GPUs)" if asked.pending else ""
    there = f"{number(asked.ready)} ready, {number(asked.starting)} starting{waiting}"
    yield "there", f"{there}, {number(asked.draining)} draining"
    for step in asked.steps:
        yield title(step), sentence(step)
    yield "outcome", f"{number(asked.count)} wanted, {number(asked.num_units)} there"
    yield from _why_rows(asked)
    yield from _then_rows(run, asked)
    yield "next", _next(run, explained, asked)


def _why_rows(asked: Asked) -> Rows:
    """In plain words: what kept the count as it is, or kept it from going all the way."""
    why = "; ".join(dict.fromkeys(map(plainly, asked.holding)))
    if asked.change:
        if why:
            yield "held back", why
    else:
        yield "why not", why or "what is there is what is wanted"


def _then_rows(run: Run, asked: Asked) -> Rows:
    """When units came and went: those on their way, those ordered, those let go."""
    end_s = float(run.facts["end_s"])
    for word, units in (("on the way", coming(run, asked)), ("ordered", ordered(run, asked))):
        if units:
            yield word, f"{several(len(units), asked.units)}: {'; '.join(_came(units, asked.time_s, end_s))}"
    if gone := removed(run, asked):
        yield "let go", f"{several(len(gone), asked.units)}: {'; '.join(_went(gone, asked.time_s, end_s))}"


def _came(units: Iterable[Unit], now_s: float, end_s: float) -> Iterator[str]:
    for unit in units:
        if unit.ready_s < math.inf:
            yield f"ready at {seconds(unit.ready_s)} ({seconds(unit.ready_s - now_s)} later)"
        elif unit.gone_s < end_s:
            yield f"cancelled at {seconds(unit.gone_s)}"
        else:
            yield "not ready when the run ended"


def _went(units: Iterable[Unit], now_s: float, end_s: float) -> Iterator[str]:
    for unit in units:
        if unit.gone_s == now_s:
            yield "gone at once" if unit.ready_s <= now_s else "cancelled before ready"
        elif unit.gone_s < end_s:
            yield f"drained by {seconds(unit.gone_s)} ({seconds(unit.gone_s - now_s)} later)"
        else:
            yield "there until the run ended"


def _next(run: Run, explained: Explained, asked: Asked) -> str:
    again = None
    for later in explained.after(asked.target, asked.time_s):
        again = again or later
        if later is again and later.change:
            return f"asked again, and changed, at {seconds(again.time_s)}: {change_of(later)}"
        if later.change:
            return f"asked again at {seconds(again.time_s)}; changed at {seconds(later.time_s)}: {change_of(later)}"
    end = f"until the run ended at {seconds(float(run.facts['end_s']))}"
    if again is None:
        return f"never asked again {end}"
    return f"asked again at {seconds(again.time_s)}; no change {end}"


def change_lines(explained: Explained, targets: Iterable[str], from_s: float, to_s: float) -> Iterator[str]:
    """All changes of a time, both ends included, one a line, with what led to each."""
    every = (each for name in targets for each in explained.after(name, np.nextafter(from_s, -np.inf), to_s))
    for asked in sorted((each for each in every if each.change), key=lambda each: each.time_s):
        first = [sentence(step) for step in asked.steps if step["step"] in ("metric", "demand", "forecast", "schedule")]
        called = [step for step in asked.steps if step["step"] == "recommendation"]
        told = [*first[:1], *(f"recommendation {number(step['count'])}" for step in called[-1:])]
        told += [f"{title(step)} {number(step.get('count'))}" for step in asked.holding]
        what = f"{number(asked.num_units)} → {number(asked.count)}"
        yield f"{seconds(asked.time_s):>12}  {asked.target:<12}  {what:>9}  {'; '.join(told)}"


def job_lines(run: Run, time_s: float) -> list[str]:
    """The jobs at the last decision recorded at or before a time, and those that a decision last changed."""
    decisions = run.columns("decisions", "time_s", "num_changes", "num_pending", "gpus_held", "gpus_capacity")
    times_s = decisions["time_s"]
    row = int(times_s.searchsorted(time_s, "right")) - 1
    if row < 0:
        return []
    num, held, capacity = (int(decisions[name][row]) for name in ("num_pending", "gpus_held", "gpus_capacity"))
    waiting = f"{number(num)} jobs or replicas wait" if num != 1 else "1 job or replica waits"
    held_of = f"{several(held, 'GPUs')} held, open nodes have {number(capacity)}"
    rows = [("decided", f"{seconds(float(times_s[row]))}: {waiting}, {held_of}")]
    changed = decisions["num_changes"][: row + 1].nonzero()[0]
    if changed.size:
        at_s = float(times_s[changed[-1]])
        rows.append(("changed", f"{seconds(at_s)}: {_shortened(_job_changes(run, at_s))}"))
    return ["jobs", *_aligned(iter(rows))]


def _job_changes(run: Run, time_s: float) -> list[str]:
    """What each job, or replica, got or gave back at a time; jobs that were done then are left out."""
    moves, jobs = Moves.of(run), run.columns("jobs", "job_id", "finish_s")
    service_of: dict[int, str] = {}
    if run.facts.get("services"):
        replicas = run.columns("replicas", "job", "service")
        service_of = dict(zip(replicas["job"].tolist(), replicas["service"].tolist(), strict=True))
    told = []
    for row in (moves.time_s == time_s).nonzero()[0]:
        job, gpus, before = int(moves.job[row]), int(moves.num_gpus[row]), int(moves.gpus_before[row])
        if job < len(jobs["job_id"]):
            name = str(jobs["job_id"][job])
            if not gpus and jobs["finish_s"][job] == time_s:
                continue
        else:
            name = f"replica {job} of {service_of.get(job)}"
        told.append(f"{name} {before} → {gpus}")
    return told


def _shortened(told: list[str]) -> str:
    more = f", and {len(told) - _MOST_JOBS} more" if len(told) > _MOST_JOBS else ""
    return f"GPUs of {', '.join(told[:_MOST_JOBS])}{more}" if told else "nothing that the table allocations shows"


def _aligned(rows: Rows) -> list[str]:
    return [f"  {what:<14}  {text}" for what, text in rows]
