"""The report in words: what was real in the live runs, how far off the simulation was, what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from real_backend.report.compared import Compared
from real_backend.report.pairs import About

_MOST_NAMED = 5  # of a list in a sentence
_MOST_PAIRS = 3
_FEW_JOBS = 20  # too few for a p95 that says much

COMPUTE = {
    "paced": (
        "Compute was paced: the compute part of each training step was slept for as long as the profile says, not "
        "computed. Processes, rendezvous, collectives and checkpoints were real. So this report tests scheduling, "
        "moves and communication; it does not test the profile's times of compute."
    ),
    "real": "Compute was real: every training step was computed on the device, and so were processes, rendezvous, "
    "collectives and checkpoints.",
}


def verdict(rows: Sequence[Mapping[str, Any]], ranking: Mapping[str, Any]) -> str:
    """A plain sentence or two."""
    errors = [row["mean_jct_error_frac"] for row in rows if math.isfinite(row["mean_jct_error_frac"])]
    if not errors:
        return "No job finished in both worlds: the simulated JCT can't be held against the live one."
    if len(rows) == 1:
        row = rows[0]
        interval = row["mean_jct_error_ci_frac"]
        spelt = f" (95% interval {per_cent(interval[0])} to {per_cent(interval[1])})" if interval else ""
        off = f"was off by {per_cent(errors[0])}{spelt}"
        return f"Under {row['policy']} the simulated mean JCT {off}; one policy has no ranking."
    low, high = min(errors), max(errors)
    of = f"{len(rows)} policies" if len(errors) == len(rows) else f"{len(errors)} of {len(rows)} policies"
    off = per_cent(low) if per_cent(low) == per_cent(high) else f"{per_cent(low)} … {per_cent(high)}"
    return f"Over {of} the simulated mean JCT was off by {off}; {_of_ranking(ranking)}"


def found_notes(all_compared: Sequence[Compared], ranking: Mapping[str, Any]) -> list[str]:
    """What a reader must know of these runs: jobs left out, what intervals stand for, jobs or settings that differ."""
    notes = []
    for each in all_compared:
        if each.left_out:
            names = listed([str(job["job"]) for job in each.left_out])
            notes.append(
                f"{each.pair.policy}: errors are over the {each.num_compared:,} of {each.num_jobs:,} jobs that "
                f"finished in both worlds (in every repeat); left out: {names}. Cost and the counts of moves are of "
                "the whole run"
            )
    columns = list(dict.fromkeys(name for each in all_compared for name in each.differing))
    if columns:
        other = [each.pair.policy for each in all_compared if each.differing]
        notes.append(f"live and simulated jobs of the same name differ in {', '.join(columns)}: {listed(other)}")
    summaries = [s for each in all_compared for s in (*each.summaries_live, each.summary_simulated)]
    if any(summary.get("warmup_s") for summary in summaries):
        notes.append("the runs have a warm-up; here it is not cut: all jobs are compared")
    repeats = {each.num_repeats for each in all_compared}
    if repeats == {1}:
        notes.append(
            "one live run a policy: the intervals of JCT are over jobs only, and say nothing of how much a live run "
            "differs from the next; makespan and cost have no interval"
        )
    elif 1 in repeats:
        notes.append("some policies have one live run only: no interval of their makespan and cost")
    fewest = min(each.num_compared for each in all_compared)
    if fewest < _FEW_JOBS:
        notes.append(f"{fewest} jobs compared: too few for a p95 that says much, or for its interval")
    if len(all_compared) > 1 and any(each.num_compared > ranking["num_ranked_jobs"] for each in all_compared):
        jobs = f"{ranking['num_ranked_jobs']:,} jobs that finished under all policies in both worlds"
        notes.append(f"the ranking by mean JCT and by makespan is over the {jobs}")
    return notes


def run_notes(all_compared: Sequence[Compared]) -> list[str]:
    """What the runs themselves noted, such as what was extrapolated; said once each, with where."""
    said: dict[str, list[str]] = {}
    for each in all_compared:
        runs = [(f"live run of {each.pair.policy}", run) for run in each.pair.live]
        for where, run in [*runs, (f"simulation of {each.pair.policy}", each.pair.simulated)]:
            for note in run.facts.get("notes") or ():
                places = said.setdefault(str(note), [])
                if where not in places:
                    places.append(where)
    return [f"{note} ({listed(places)})" for note, places in said.items()]


def lead(about: About) -> str:
    """What a reader must see first."""
    return f"{COMPUTE[about.compute]} Device: {about.device}."


def per_cent(value: float | None, digits: int = 1) -> str:
    """A signed share in per cent."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:+,.{digits}f}%"
    return f"0.{'0' * digits}%" if float(text[1:-1].replace(",", "")) == 0 else text.replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Some names in a sentence."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _of_ranking(ranking: Mapping[str, Any]) -> str:
    if ranking["same_ranking_mean_jct"] is None:
        return "no job finished under all of them, so that they can't be ranked."
    tau, close = ranking["kendall_tau"], ranking["indistinguishable"]
    spelt = f"Kendall τ {_tau(tau)}" if tau is not None and math.isfinite(tau) else "no Kendall τ: all are equal"
    if ranking["same_ranking_mean_jct"]:
        said = f"the ranking by mean JCT was the same ({spelt})"
        return f"{said}, though live {_pairs(close, ranking)} can't be told apart." if close else f"{said}."
    unclear = [pair for pair in ranking["swapped"] if pair in close]
    clear = [pair for pair in ranking["swapped"] if pair not in close]
    said = f"the ranking by mean JCT was not the same ({spelt}): it has {_pairs(clear or unclear, ranking)} the other "
    if not clear:
        return f"{said}way round, but live they can't be told apart."
    more = "one more pair" if len(unclear) == 1 else f"{len(unclear)} more pairs"
    return f"{said}way round" + (f", and {more} that can't be told apart live." if unclear else ".")


def _pairs(pairs: Sequence[Sequence[str]], ranking: Mapping[str, Any]) -> str:
    num_pairs = len(ranking["mean_jct_differences"])
    if len(pairs) <= _MOST_PAIRS:
        return ", ".join(" and ".join(pair) for pair in pairs)
    return f"all {num_pairs} pairs of policies" if len(pairs) == num_pairs else f"{len(pairs)} of {num_pairs} pairs"


def _tau(tau: float) -> str:
    return f"{tau:.3g}".replace("-", "−") if tau not in (1.0, -1.0, 0.0) else f"{tau:.1f}".replace("-", "−")
