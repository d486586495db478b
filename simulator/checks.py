"""Do a run's books balance? What must be true of any run, recomputed from its tables.

| rule | recomputed from |
|---|---|
| every job is in one state, and what its row says fits that state | jobs, allocations |
| GPU-seconds held, preemptions and rescales are those of the allocations | allocations |
| the work done is the work asked for, at each change of each job | rates, pauses and times in allocations |
| sizes within each job's bounds; gangs add up over their nodes | allocations |
| never more held than exists, on each node and in all, and only on nodes that are there | allocations, nodes |
| replicas live in order and hold what they should; no request is lost or served twice | `simulator.serving.checks` |
| a node's life, its end and its bill are in order | `simulator.pools.checks` |
| capacity is that of ready nodes | nodes, decisions |

Times are compared at the end of an instant: within one, a plan is applied change by change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from simulator.errors import SimulationError
from simulator.pools.checks import broken_node_rules
from simulator.run import Run
from simulator.serving.checks import broken_service_rules

_REL = 1e-6  # of what is compared
_SHOWN = 3  # examples a rule


def check(run: Run) -> None:
    """Audits a run.

    Raises:
        SimulationError: the books don't balance; lists each rule that is broken, with examples.
    """
    books = _Books.of(run)
    of_jobs = _Books.of(run, with_replicas=False) if run.facts.get("services") else books
    broken = [line for rule in (_states, _bounds, _counts, _work) for line in rule(of_jobs)]
    broken += [line for rule in (_capacity_in_all, _capacity_by_node, _decisions) for line in rule(books)]
    broken += broken_node_rules(run)
    broken += broken_service_rules(run)
    if broken:
        raise SimulationError("the books of this run don't balance:\n" + "\n".join(f"- {line}" for line in broken))


@dataclass(frozen=True, slots=True)
class _Books:
    """The tables as arrays. Changes are sorted by job, then by time; shape (C,) each, C changes."""

    jobs: pd.DataFrame
    nodes: pd.DataFrame
    decisions: pd.DataFrame
    end_s: float
    may_stall: bool  # moves in place have a stall
    may_break: bool  # gangs lose work between two changes, with their workers
    record: np.ndarray  # the change's row in the table, which is in the order of events
    job: np.ndarray
    time_s: np.ndarray
    gpus: np.ndarray
    rate: np.ndarray
    pause_s: np.ndarray
    left_s: np.ndarray
    is_first: np.ndarray  # of its job
    is_last: np.ndarray
    until_s: np.ndarray  # the job's next change, or the end of the run
    # What each change says of nodes, laid end to end; shape (P,), P parts of placements.
    part_change: np.ndarray  # row of the change
    part_node: np.ndarray
    part_gpus: np.ndarray

    @classmethod
    def of(cls, run: Run, with_replicas: bool = True) -> _Books:
        table = run.table("allocations").combine_chunks()
        if not with_replicas:
            table = table.filter(pc.less(table["job"], len(run.jobs))).combine_chunks()
        column = {name: table[name].to_numpy() for name in table.column_names if not pa.types.is_list(table[name].type)}
        order = column["job"].argsort(kind="stable")
        job = column["job"][order]
        new = np.ones(job.size + 1, bool)
        new[1:-1] = job[1:] != job[:-1]
        end_s = float(run.facts["end_s"])
        time_s = column["time_s"][order]
        until_s = np.where(new[1:], end_s, np.append(time_s[1:], end_s))
        place_of = np.empty_like(order)
        place_of[order] = np.arange(order.size)
        nodes, gpus = (table[name].combine_chunks() for name in ("nodes", "gpus_on_node"))
        sizes = nodes.value_lengths().to_numpy(zero_copy_only=False)
        return cls(
            jobs=run.jobs,
            nodes=run.nodes,
            decisions=run.decisions,
            end_s=end_s,
            may_stall=bool(run.facts.get("may_stall", False)),
            may_break=bool(run.facts.get("may_break", False)),
            record=order,
            job=job,
            time_s=time_s,
            gpus=column["num_gpus"][order].astype(np.int64),
            rate=column["rate"][order],
            pause_s=column["pause_s"][order],
            left_s=column["work_left_s"][order],
            is_first=new[:-1],
            is_last=new[1:],
            until_s=until_s,
            part_change=np.repeat(place_of, sizes),
            part_node=nodes.flatten().to_numpy(),
            part_gpus=gpus.flatten().to_numpy().astype(np.int64),
        )

    def names(self, rows: np.ndarray) -> list[str]:
        ids, num_jobs = self.jobs["job_id"], len(self.jobs)
        return [f"job {ids.iloc[row]}" if row < num_jobs else f"replica {row}" for row in rows[:_SHOWN]]

    def state(self, *names: str) -> np.ndarray:
        return self.jobs["state"].isin(names).to_numpy()


def _told(what: str, bad: np.ndarray, tell: list[str]) -> Iterator[str]:
    """One line for a broken rule."""
    count = int(np.count_nonzero(bad)) if bad.dtype == bool else bad.size
    if count:
        more = ", ..." if count > len(tell) else ""
        yield f"{what} ({count:,}): {', '.join(tell)}{more}"


def _jobs(books: _Books, what: str, bad: np.ndarray) -> Iterator[str]:
    """The same where `bad` is a mask of jobs."""
    yield from _told(what, bad, books.names(bad.nonzero()[0]))


def _changes(books: _Books, what: str, bad: np.ndarray) -> Iterator[str]:
    """The same where `bad` is a mask of changes."""
    rows = bad.nonzero()[0][:_SHOWN]
    tell = [f"{n} at {t:g} s" for n, t in zip(books.names(books.job[rows]), books.time_s[rows], strict=True)]
    yield from _told(what, bad, tell)


def _differ(mine: np.ndarray, theirs: np.ndarray, slack: np.ndarray | float = 0.0) -> np.ndarray:
    scale = np.maximum(np.abs(mine), np.abs(theirs))
    return ~(np.abs(mine - theirs) <= _REL * scale + slack + 1e-9)  # nan differs


# ---- jobs
def _states(books: _Books) -> Iterator[str]:
    jobs, num_jobs = books.jobs, len(books.jobs)
    known = books.state("finished", "failed", "rejected", "running", "pending", "not_submitted")
    yield from _jobs(books, "jobs lost: submitted, but neither finished, failed, rejected nor unfinished", ~known)
    early = jobs["submit_s"].to_numpy() < books.end_s
    yield from _jobs(books, "jobs lost: never submitted, though their time came", early & books.state("not_submitted"))

    start_s, finish_s, submit_s = (jobs[name].to_numpy() for name in ("start_s", "finish_s", "submit_s"))
    done = books.state("finished")
    wrong = done & ~((submit_s <= start_s) & (start_s <= finish_s) & (finish_s <= books.end_s))
    yield from _jobs(books, "finished jobs whose times are not submit <= start <= finish <= end", wrong)
    yield from _jobs(books, "unfinished jobs with a finish time", ~np.isnan(finish_s) & ~done & ~books.state("failed"))
    yield from _jobs(books, "finished jobs with work left", done & (jobs["work_left_s"].to_numpy() != 0.0))

    last = np.zeros(num_jobs, np.int64)
    last[books.job[books.is_last]] = books.gpus[books.is_last]
    yield from _jobs(books, "jobs that hold GPUs at the end and are not running", (last > 0) != books.state("running"))
    first_s, last_s = np.full(num_jobs, np.nan), np.full(num_jobs, np.nan)
    first_s[books.job[books.is_first]] = books.time_s[books.is_first]
    last_s[books.job[books.is_last]] = books.time_s[books.is_last]
    same = (first_s == start_s) | (np.isnan(first_s) & np.isnan(start_s))
    yield from _jobs(books, "jobs whose start is not their first allocation", ~same)
    yield from _jobs(books, "finished jobs whose finish is not their last change", done & (last_s != finish_s))


def _bounds(books: _Books) -> Iterator[str]:
    jobs = books.jobs
    low, high = jobs["min_gpus"].to_numpy()[books.job], jobs["max_gpus"].to_numpy()[books.job]
    outside = (books.gpus != 0) & ((books.gpus < low) | (books.gpus > high))
    yield from _changes(books, "sizes outside the job's bounds", outside)
    yield from _changes(books, "work without GPUs, or GPUs without a rate", (books.gpus > 0) != (books.rate > 0))
    outside = (books.time_s < jobs["submit_s"].to_numpy()[books.job]) | (books.time_s > books.end_s)
    yield from _changes(books, "changes before the job was submitted, after the run or backwards in time",
                        outside | (books.until_s < books.time_s))  # fmt: skip


def _counts(books: _Books) -> Iterator[str]:
    jobs, num_jobs = books.jobs, len(books.jobs)
    held = np.bincount(books.job, books.gpus * (books.until_s - books.time_s), num_jobs)
    wrong = _differ(held, jobs["held_gpu_s"].to_numpy())
    rows = wrong.nonzero()[0][:_SHOWN]
    tell = [
        f"{name} has {jobs['held_gpu_s'].iloc[row]:.9g}, its allocations make {held[row]:.9g}"
        for name, row in zip(books.names(rows), rows, strict=True)
    ]
    yield from _told("GPU-seconds held that the allocations don't make", wrong, tell)

    had = np.append(0, books.gpus[:-1])
    had[books.is_first] = 0
    ends = books.is_last & books.state("finished", "failed")[books.job]
    counts = {
        "num_preemptions": (books.gpus == 0) & ~ends,
        "num_rescales": (books.gpus > 0) & (had > 0),
    }
    for name, which in counts.items():
        wrong = np.bincount(books.job[which], minlength=num_jobs) != jobs[name].to_numpy()
        yield from _jobs(books, f"{name} that is not that of the allocations", wrong)
    paused_s = np.minimum(books.pause_s, books.until_s - books.time_s)
    most = np.bincount(books.job, books.gpus * paused_s, num_jobs)
    overhead = jobs["overhead_gpu_s"].to_numpy()
    yield from _jobs(books, "overhead of more GPU-seconds than the pauses had", overhead > most * (1 + _REL) + 1e-6)


# ---- work
def _work(books: _Books) -> Iterator[str]:
    """Work left at each change must be what it was at the one before, less rate times time."""
    jobs = books.jobs
    asked = jobs["duration_s"].to_numpy()
    slack = _REL * asked[books.job] + 1e-12 * books.time_s * np.maximum(books.rate, 1.0)
    before = _work_before(books)
    given = before - books.left_s  # credited in advance to a gang that goes on while others join; < 0: lost
    preempted = (books.gpus == 0) & ~(books.is_last & books.state("finished", "failed")[books.job])

    lost = np.where(preempted, -given, 0.0)
    ran_s = books.time_s - np.roll(books.time_s + books.pause_s, 1)
    done = np.maximum(ran_s, 0.0) * np.roll(books.rate, 1)
    yield from _changes(books, "preemptions that lose more work than was done since the last move",
                        preempted & ((lost < -slack) | (lost > done + slack)))  # fmt: skip
    lost_in_all = np.bincount(books.job, lost, len(jobs))
    wrong = _differ(lost_in_all, jobs["lost_work_s"].to_numpy(), _REL * asked)
    if books.may_break:
        wrong &= lost_in_all > jobs["lost_work_s"].to_numpy()
    yield from _jobs(books, "lost work that is not that of the preemptions", wrong)

    # A move keeps the work (all wait), or credits what those who go on do until the others have joined: the whole old
    # gang at its old rate, or m of its w GPUs at m/w of that.
    joining = np.divide(given, books.pause_s, out=np.zeros_like(given), where=books.pause_s > 0)
    going = np.where(ran_s >= 0, np.roll(books.rate, 1), np.roll(joining, 1))
    going[books.is_first] = 0.0
    most = going * books.pause_s
    wrong = (books.gpus > 0) & (np.abs(given) > slack) & (np.abs(given - most) > slack)
    if books.may_stall:  # how long of the pause isn't on record: any share of what could have been done will do
        wrong &= (given < 0) | (given > most + slack)
    for row in wrong.nonzero()[0]:
        width = np.arange(1, books.gpus[row - 1] + 1)  # of the gang before
        members = np.rint(given[row] * width / most[row]) if most[row] > 0 else width + 1
        wrong[row] = not ((np.abs(given[row] - most[row] * members / width) <= slack[row]) & (members <= width)).any()
    yield from _changes(books, "work that does not fall as rate x time", wrong)

    ends = books.is_last & books.state("finished")[books.job]
    wrong = ends & (np.abs(before) > slack)
    rows = wrong.nonzero()[0][:_SHOWN]
    tell = [
        f"{name} did {asked[books.job[row]] - before[row]:.9g} of {asked[books.job[row]]:.9g} s"
        for name, row in zip(books.names(books.job[rows]), rows, strict=True)
    ]
    yield from _told("finished jobs that did not do the work they asked for", wrong, tell)


def _work_before(books: _Books) -> np.ndarray:
    """Work left just before each change, by what the one before it says; shape (C,).

    `work_left_s` holds at the end of a change's pause. A next change inside the pause takes back what was credited
    for the rest of it, which is proportional to the rest: hence from one to the next along such a chain.
    """
    before = books.jobs["duration_s"].to_numpy()[books.job].copy()
    rest_s = np.roll(books.time_s + books.pause_s, 1) - books.time_s  # of the pause before
    inside = ~books.is_first & (rest_s > 0)
    after = ~books.is_first & ~inside
    before[after] = (np.roll(books.left_s, 1) + np.roll(books.rate, 1) * rest_s)[after]
    rows = inside.nonzero()[0]
    rows = rows[~inside[rows - 1]]  # heads of chains
    while rows.size:
        credited = before[rows - 1] - books.left_s[rows - 1]
        before[rows] = books.left_s[rows - 1] + credited * rest_s[rows] / books.pause_s[rows - 1]
        rows = rows[rows + 1 < inside.size] + 1
        rows = rows[inside[rows]]
    return before


# ---- capacity
def _capacity_in_all(books: _Books) -> Iterator[str]:
    nodes = books.nodes
    had = np.append(0, books.gpus[:-1])
    had[books.is_first] = 0
    came = nodes[np.isfinite(nodes["ready_s"])]
    gone = came[came["terminated_s"] < books.end_s]
    times = np.concatenate((books.time_s, came["ready_s"], gone["terminated_s"]))
    held = np.concatenate((books.gpus - had, np.zeros(len(came) + len(gone), np.int64)))
    exist = np.concatenate((np.zeros(books.job.size, np.int64), came["num_gpus"], -gone["num_gpus"]))
    order = times.argsort(kind="stable")
    times, held, exist = times[order], held[order].cumsum(), exist[order].cumsum()
    wrong = (np.append(times[1:] != times[:-1], True) & (held > exist)) if times.size else np.zeros(0, bool)
    rows = wrong.nonzero()[0][:_SHOWN]
    tell = [f"{held[row]} of {exist[row]} at {times[row]:g} s" for row in rows]
    yield from _told("more GPUs held than exist", wrong, tell)


def _capacity_by_node(books: _Books) -> Iterator[str]:
    change, node, gpus = books.part_change, books.part_node.astype(np.int64), books.part_gpus
    if not node.size:
        return
    placed = np.bincount(change, gpus, books.job.size)
    yield from _changes(books, "gangs whose GPUs by node don't add up", placed != books.gpus)
    ready = books.nodes[books.nodes["node"] >= 0].set_index("node").sort_index()
    strange = ~np.isin(node, ready.index.to_numpy())
    yield from _told("GPUs held on nodes that never were", strange, [f"node {n}" for n in node[strange][:_SHOWN]])
    change, node, gpus = change[~strange], node[~strange], gpus[~strange]
    life = {name: ready[name].to_numpy()[np.searchsorted(ready.index.to_numpy(), node)] for name in
            ("num_gpus", "ready_s", "drain_s", "terminated_s")}  # fmt: skip

    def told(what: str, bad: np.ndarray) -> Iterator[str]:
        rows = bad.nonzero()[0][:_SHOWN]
        names = books.names(books.job[change[rows]])
        tell = [f"{n} on node {node[r]} at {books.time_s[change[r]]:g} s" for n, r in zip(names, rows, strict=True)]
        yield from _told(what, bad, tell)

    lasts = books.until_s[change] > books.time_s[change]
    absent = (books.time_s[change] < life["ready_s"]) | (books.until_s[change] > life["terminated_s"])
    yield from told("GPUs held on nodes before they are ready or after they are gone", lasts & absent)
    more = gpus > _held_there_before(books, change, node, gpus)
    yield from told("GPUs given on nodes that drain", more & (books.time_s[change] > life["drain_s"]))

    times = np.concatenate((books.time_s[change], books.until_s[change]))
    leaves = ~(books.is_last[change])  # what is held at the end is held beyond it
    moves = np.concatenate((gpus, np.where(leaves, -gpus, 0)))
    where = np.concatenate((node, node))
    size = np.concatenate((life["num_gpus"], life["num_gpus"]))
    order = np.lexsort((times, where))
    times, moves, where, size = times[order], moves[order], where[order], size[order]
    total = moves.cumsum()
    begins = np.append(True, where[1:] != where[:-1])
    total -= np.repeat((total - moves)[begins], np.diff(np.append(begins.nonzero()[0], where.size)))
    settled = np.append((times[1:] != times[:-1]) | begins[1:], True)
    wrong = settled & (total > size)
    tell = [f"node {where[r]} has {total[r]} of {size[r]} at {times[r]:g} s" for r in wrong.nonzero()[0][:_SHOWN]]
    yield from _told("more GPUs held on a node than it has", wrong, tell)


def _held_there_before(books: _Books, change: np.ndarray, node: np.ndarray, gpus: np.ndarray) -> np.ndarray:
    """What the same job held on the same node just before each part of a placement."""
    width = int(node.max()) + 1 if node.size else 1
    key = change * width + node
    order = key.argsort()
    previous = key - width  # the same node in the change before
    at = np.minimum(key[order].searchsorted(previous), key.size - 1)
    found = (key[order][at] == previous) & ~books.is_first[change]
    return np.where(found, gpus[order][at], 0)


def _decisions(books: _Books) -> Iterator[str]:
    """What each decision noted of GPUs held and of capacity is what allocations and nodes say."""
    decisions = books.decisions.drop_duplicates("time_s", keep="last")
    times = decisions["time_s"].to_numpy()
    had = np.append(0, books.gpus[:-1])
    had[books.is_first] = 0
    order = books.record.argsort()
    changed_s, held = books.time_s[order], np.append(0, (books.gpus - had)[order].cumsum())
    last = changed_s.searchsorted(times, "right")
    noted = decisions["gpus_held"].to_numpy()
    wrong = held[last] != noted
    for row in wrong.nonzero()[0]:  # unless more happened in the same instant, after the decision
        wrong[row] = noted[row] not in held[changed_s.searchsorted(times[row]) : last[row]]
    tell = [
        f"{noted[row]} at {times[row]:g} s, allocations make {held[last[row]]}" for row in wrong.nonzero()[0][:_SHOWN]
    ]
    yield from _told("GPUs held at decisions that allocations don't make", wrong, tell)

    nodes = books.nodes[np.isfinite(books.nodes["ready_s"])]
    ready_s, closed_s = nodes["ready_s"].to_numpy(), nodes[["drain_s", "terminated_s"]].min(axis=1).to_numpy()
    came, went = ready_s.argsort(kind="stable"), closed_s.argsort(kind="stable")
    size = nodes["num_gpus"].to_numpy()
    most = np.append(0, size[came].cumsum())[ready_s[came].searchsorted(times, "right")]
    most -= np.append(0, size[went].cumsum())[closed_s[went].searchsorted(times, "left")]
    noted = decisions["gpus_capacity"].to_numpy()
    wrong = noted > most
    tell = [f"{noted[row]} at {times[row]:g} s, ready nodes make {most[row]}" for row in wrong.nonzero()[0][:_SHOWN]]
    yield from _told("capacity at decisions that nodes don't make", wrong, tell)
