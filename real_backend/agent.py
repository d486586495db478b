"""A node agent: one a host (or several on one host, playing nodes). It offers slots and starts, watches, ends workers.

| from the controller | it does |
|---|---|
| start | starts workers of a job in slots |
| next | tells workers which gang comes after this one |
| kill | ends a job's workers at once |
| quit | ends all workers, and itself |

It tells the controller what its workers say, when they end and how the node is. When the controller goes away its
workers go on, and it tries to reach a new one for `orphan_s`; after that it ends them: nobody wants what they do.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from real_backend.__main__ import MISUSED, complain
from real_backend.channel import Channel, Closed, Message, knock, read_token
from real_backend.errors import BackendError, TokenRefused
from real_backend.launch import START_METHODS, Launcher, Started
from real_backend.telemetry import NodeTelemetry

_TICK_S = 0.5
_RETRY_S = 0.5


@dataclass(kw_only=True)
class AgentOptions:
    """What a node offers and how it goes about it.

    Args:
        slots: workers that may run here at once; on GPUs `slots_per_gpu` of them share one.
        device: `cpu` or `cuda`.
        host: under which other nodes reach this one (its store for rendezvous).
        heartbeat_timeout_s: a worker that says nothing for so long hangs, and is killed.
        orphan_s: how long to go on without a controller.
    """

    name: str
    join: str
    slots: int = 1
    device: str = "cpu"
    slots_per_gpu: int = 1
    gpus: Sequence[int] = ()
    host: str = "127.0.0.1"
    start: str = "forkserver"
    heartbeat_timeout_s: float = 60.0
    orphan_s: float = 60.0
    telemetry_s: float = 1.0
    network_gib_per_s: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "slots": (self.slots >= 1, "must be 1 or more"),
            "device": (self.device in ("cpu", "cuda"), "must be cpu or cuda"),
            "slots_per_gpu": (self.slots_per_gpu >= 1, "must be 1 or more"),
            "start": (self.start in START_METHODS, f"must be one of {', '.join(START_METHODS)}"),
            "heartbeat_timeout_s": (self.heartbeat_timeout_s > 0, "must be more than 0"),
            "orphan_s": (self.orphan_s >= 0, "must be 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise BackendError(f"agent {self.name}: {name}={getattr(self, name)}: {rule}")


@dataclass
class _Sign:
    """The last sign of life of a worker, and where it is."""

    seen_s: float
    state: dict[str, Any] = field(default_factory=dict)


class Agent:
    """See the module."""

    def __init__(self, options: AgentOptions, token: str) -> None:
        import torch.distributed as dist

        self._options, self._token = options, token
        self._launcher = Launcher(options.start)
        self._store = dist.TCPStore(options.host, 0, is_master=True, wait_for_workers=False)
        gpus = sorted({self._gpu_of(slot) for slot in range(options.slots)}) if options.device == "cuda" else []
        self._telemetry = NodeTelemetry(options.device, gpus, network_gib_per_s=options.network_gib_per_s)
        self._started: list[Started] = []
        self._signs: dict[tuple[str, int], _Sign] = {}  # by job and slot
        self._controller: Channel | None = None
        self._unsent: list[Message] = []  # while there is no controller
        self._quits = False
        self._left_s = 0.0
        self._telemetry_s = 0.0

    def run(self) -> int:
        """Runs until it is told to quit, or nobody wants it any more; returns the exit code.

        Raises:
            TokenRefused: the controller doesn't know the token.
            BackendError: nobody listens at the controller's address.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if self._options.start == "forkserver":
            self._launcher.warm_up()
        try:
            self._connect()
        except OSError as error:
            raise BackendError(f"{self._options.join}: no controller there: {error}") from None
        try:
            while not self._quits:
                self._turn()
        finally:
            self._end_all()
        return 0

    # ---- the loop
    def _turn(self) -> None:
        channels = {
            channel.connection: (started, slot)
            for started in self._started
            for slot, channel in started.channels.items()
        }
        sentinels = {started.process.sentinel: started for started in self._started}
        watched: list[Any] = [*channels, *sentinels]
        if self._controller:
            watched.append(self._controller.connection)
        for ready in wait(watched, timeout=_TICK_S):
            if ready in channels:
                self._hear(*channels[ready])
            elif ready in sentinels:
                self._bury(sentinels[ready])
            else:
                self._obey()
        now_s = time.monotonic()
        if self._controller is None:
            self._reconnect(now_s)
        elif now_s - self._telemetry_s >= self._options.telemetry_s:
            self._telemetry_s = now_s
            self._tell("telemetry", values=self._telemetry.sample(pids=self._pids()))
        self._end_silent(now_s)

    def _hear(self, started: Started, slot: int) -> None:
        channel = started.channels.get(slot)
        if channel is None:
            return
        try:
            message = channel.receive(0.0)
        except Closed:
            del started.channels[slot]
            channel.close()
            return
        if message is None:
            return
        sign = self._signs[started.job_id, slot]
        sign.seen_s = time.monotonic()
        kind = message.pop("kind")
        sign.state.update(last=kind, generation=message.get("generation"), rank=message.get("rank"))
        if "step" in message:
            sign.state["step"] = message["step"]
        if kind != "beat":
            self._tell("worker", job_id=started.job_id, slot=slot, event=kind, **message)

    def _bury(self, started: Started) -> None:
        for slot in list(started.channels):
            while slot in started.channels and started.channels[slot].connection.poll():
                self._hear(started, slot)  # its last words
        started.process.join()
        slots = [slot for job_id, slot in self._signs if job_id == started.job_id and slot in started.slots]
        for slot in slots:
            del self._signs[started.job_id, slot]
        for channel in started.channels.values():
            channel.close()
        self._started.remove(started)
        self._tell("exited", job_id=started.job_id, slots=slots, code=started.process.exitcode)
        started.process.close()

    def _obey(self) -> None:
        assert self._controller is not None
        try:
            message = self._controller.receive()
        except Closed:
            self._controller.close()
            self._controller, self._left_s = None, time.monotonic()
            return
        assert message is not None
        kind = message.pop("kind")
        if kind == "start":
            self._start(message)
        elif kind == "next":
            for started in self._of(message["job_id"]):
                for slot, channel in started.channels.items():
                    if str(slot) in message["members"]:
                        with contextlib.suppress(Closed):
                            channel.send("next", **message["members"][str(slot)])
        elif kind == "kill":
            slots = message.get("slots")
            for started in self._of(message["job_id"]):
                if slots is None or set(started.slots) & set(slots):
                    started.kill()
        elif kind == "quit":
            self._quits = True

    def _start(self, message: Message) -> None:
        spec, members = message["spec"], message["members"]
        for member in members:
            member["spec"] = {"device": self._device_of(member["slot"])}
        try:
            Path(spec["log"]).parent.mkdir(parents=True, exist_ok=True)
            if message["method"] == "restart":
                self._add(self._launcher.start_group(spec, members))
            else:
                for member in members:
                    self._add(self._launcher.start_worker(spec, member))
        except OSError as error:
            self._tell("exited", job_id=spec["job_id"], slots=[m["slot"] for m in members], code=71, why=str(error))

    def _add(self, started: Started) -> None:
        self._started.append(started)
        for slot in started.channels:
            self._signs[started.job_id, slot] = _Sign(time.monotonic())

    def _end_silent(self, now_s: float) -> None:
        for (job_id, slot), sign in list(self._signs.items()):
            if now_s - sign.seen_s > self._options.heartbeat_timeout_s:
                sign.seen_s = now_s
                silent_s = self._options.heartbeat_timeout_s
                self._tell("hung", job_id=job_id, slot=slot, silent_s=silent_s)
                for started in self._of(job_id):
                    if slot in started.slots:
                        started.kill()

    def _end_all(self) -> None:
        for started in self._started:
            started.kill()
        for started in self._started:
            started.process.join(5.0)
        self._telemetry.close()
        if self._controller:
            self._controller.close()

    # ---- the controller
    def _connect(self) -> None:
        channel = knock(self._options.join, self._token)
        options = self._options
        workers = [{"job_id": job_id, "slot": slot, **sign.state} for (job_id, slot), sign in self._signs.items()]
        channel.send(
            "hello",
            name=options.name,
            slots=options.slots,
            device=self._device_name(),
            host=socket.gethostname(),
            pid=os.getpid(),
            store_host=options.host,
            store_port=self._store.port,
            workers=workers,
        )
        self._controller = channel
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            self._tell(**message)

    def _reconnect(self, now_s: float) -> None:
        if now_s - self._left_s > self._options.orphan_s:
            self._quits = True
            return
        try:
            self._connect()
        except TokenRefused:
            self._quits = True
        except (OSError, Closed):
            time.sleep(_RETRY_S)

    def _tell(self, kind: str, **fields: Any) -> None:
        if self._controller is None:
            if kind != "telemetry":
                self._unsent.append({"kind": kind, **fields})
            return
        try:
            self._controller.send(kind, **fields)
        except Closed:
            self._controller.close()
            self._controller, self._left_s = None, time.monotonic()
            self._unsent.append({"kind": kind, **fields})

    # ---- odds and ends
    def _of(self, job_id: str) -> list[Started]:
        return [started for started in self._started if started.job_id == job_id]

    def _pids(self) -> list[int]:
        return [started.process.pid for started in self._started]

    def _gpu_of(self, slot: int) -> int:
        gpus = self._options.gpus or range(max(1, self._options.slots // self._options.slots_per_gpu))
        return gpus[slot // self._options.slots_per_gpu % len(gpus)]

    def _device_of(self, slot: int) -> str:
        return f"cuda:{self._gpu_of(slot)}" if self._options.device == "cuda" else "cpu"

    def _device_name(self) -> str:
        if self._options.device != "cuda":
            return "cpu"
        import torch

        return torch.cuda.get_device_name(self._gpu_of(0))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._quits = True


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"{message} (--help says more)", MISUSED))


def main(arguments: Sequence[str]) -> int:
    """`python -m real_backend agent --join HOST:PORT …`; returns the exit code."""
    parser = _Parser(
        prog="python -m real_backend agent",
        description="A node: offers slots to the controller at HOST:PORT and runs workers in them.",
    )
    parser.add_argument("--join", required=True, metavar="HOST:PORT", help="the controller's address")
    parser.add_argument("--token-file", type=Path, help="holds the shared token; else REAL_BACKEND_TOKEN")
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}", help="of this node")
    parser.add_argument("--slots", type=int, default=1, help="workers at once (1)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--slots-per-gpu", type=int, default=1, help="workers that share a GPU (1)")
    parser.add_argument("--gpus", type=_numbers, default=(), help="indices of the GPUs to use, such as 0,1; all")
    parser.add_argument("--host", default="127.0.0.1", help="address of this node for the others")
    parser.add_argument("--start", default="forkserver", help="forkserver or spawn")
    parser.add_argument("--network-gib-per-s", type=float, default=0.0, help="bandwidth, for telemetry (unknown)")
    parser.add_argument("--heartbeat-timeout-s", type=float, default=60.0)
    parser.add_argument("--orphan-s", type=float, default=60.0, help="how long to go on without a controller")
    given = vars(parser.parse_args(list(arguments)))
    try:
        token = read_token(os.environ, given.pop("token_file"))
        return Agent(AgentOptions(**given), token).run()
    except BackendError as error:
        return complain(str(error), MISUSED)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
