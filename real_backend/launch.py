"""Starting worker processes on a node: one by one, or as a group under torch.distributed.elastic's local agent.

Processes are forked from a server that has imported torch already (`start=forkserver`, the default: tens of
milliseconds), or started from nothing (`start=spawn`: seconds of imports, as a job in a container of its own has).
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from real_backend.channel import Channel

# What a worker's first steps import, some of it only when a first optimiser or DistributedDataParallel is made.
PRELOAD = ("real_backend.preload",)
START_METHODS = ("forkserver", "spawn")


@dataclass(eq=False)
class Started:
    """A process of a job on this node, and the channels to its workers by slot."""

    job_id: str
    process: Any
    channels: dict[int, Channel]
    slots: tuple[int, ...]

    def kill(self) -> None:
        """Ends it at once; workers of a group go with it (`worker.die_with_parent`)."""
        self.process.kill()


class Launcher:
    """Starts processes; their standard streams go to the job's log."""

    def __init__(self, start: str) -> None:
        self._context: Any = multiprocessing.get_context(start)
        if start == "forkserver":
            self._context.set_forkserver_preload(list(PRELOAD))

    def warm_up(self) -> None:
        """Starts the server that workers are forked from, imports and all."""
        process = self._context.Process(target=_nothing)
        process.start()
        process.join()

    def start_worker(self, spec: Mapping[str, Any], member: Mapping[str, Any]) -> Started:
        """One worker of its own: what can be moved in place."""
        ours, theirs = multiprocessing.Pipe()
        whole = {**spec, **member["spec"], "gang": {**spec["gang"], **member["gang"]}, "sent_s": time.time()}
        process = self._context.Process(target=_run_worker, args=(theirs, whole), daemon=False)
        process.start()
        theirs.close()
        return Started(spec["job_id"], process, {member["slot"]: Channel(ours)}, (member["slot"],))

    def start_group(self, spec: Mapping[str, Any], members: Sequence[Mapping[str, Any]]) -> Started:
        """A node's share of a gang under one `LocalElasticAgent`, as torchrun would start it."""
        pipes = [multiprocessing.Pipe() for _ in members]
        whole = {**spec, "sent_s": time.time()}
        theirs = [pipe[1] for pipe in pipes]
        process = self._context.Process(target=_run_group, args=(theirs, whole, list(members)), daemon=False)
        process.start()
        for connection in theirs:
            connection.close()
        channels = {member["slot"]: Channel(pipe[0]) for member, pipe in zip(members, pipes, strict=True)}
        return Started(spec["job_id"], process, channels, tuple(channels))


def _nothing() -> None:
    pass


def _run_worker(connection: Connection, spec: Mapping[str, Any]) -> None:
    from real_backend.worker import main

    main(connection, spec)
    os._exit(0)  # at once: tearing an interpreter down takes 0.1 s and longer, and holds the slot


def _run_group(connections: list[Connection], spec: Mapping[str, Any], members: list[Mapping[str, Any]]) -> None:
    """Runs a `LocalElasticAgent` to the end of its workers. Who is in the gang is settled: it only takes its place."""
    import torch.distributed as dist
    from torch.distributed.elastic.agent.server.api import WorkerSpec, WorkerState
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs

    from real_backend.rendezvous import SettledRendezvous
    from real_backend.worker import die_with_parent

    die_with_parent()
    gang = spec["gang"]
    store = dist.TCPStore(gang["store_host"], gang["store_port"], is_master=False)
    settled = SettledRendezvous(
        f"{Path(spec['log']).stem}-{gang['generation']}",  # also a folder's name
        dist.PrefixStore(f"elastic/{spec['job_id']}/{gang['generation']}", store),
        rank=gang["node_rank"],
        num_nodes=gang["num_nodes"],
        address=(gang["store_host"], gang["store_port"]),
    )
    worker_spec = WorkerSpec(
        role="worker",
        local_world_size=len(members),
        rdzv_handler=settled,
        entrypoint=_run_group_worker,
        args=(connections, dict(spec), members),
        max_restarts=0,
        monitor_interval=0.05,
    )
    agent = LocalElasticAgent(worker_spec, logs_specs=DefaultLogsSpecs(), start_method="fork")
    result = agent.run()
    os._exit(0 if result.state == WorkerState.SUCCEEDED else 70)


def _run_group_worker(connections: list[Connection], spec: Mapping[str, Any], members: list[Mapping[str, Any]]) -> None:
    from real_backend.worker import main

    local_rank = int(os.environ["LOCAL_RANK"])
    member = members[local_rank]
    place = {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"]), "local_rank": local_rank}
    for other, connection in enumerate(connections):
        if other != local_rank:
            connection.close()
    main(connections[local_rank], {**spec, **member["spec"], "gang": {**spec["gang"], **member["gang"], **place}})
