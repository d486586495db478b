"""Where nodes come from when a scaling policy wants more, and go when it wants fewer.

| provider | a node is |
|---|---|
| local | another agent process on this host |
| command | what your own commands create and delete: a cloud instance, a Slurm job, a container |
| join | whatever joins: somebody starts `python -m real_backend agent --join HOST:PORT` |
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from real_backend.errors import BackendError

PROVIDERS = ("local", "command", "join")
_KEEP_S = 10.0


class Provider(Protocol):
    """Creates and deletes nodes by name; an agent that joins under the name is the node. Returns at once."""

    def create(self, name: str) -> None: ...
    def delete(self, name: str) -> None: ...
    def close(self) -> None: ...


@dataclass
class Site:
    """What a provider must know of the run.

    Args:
        address: where agents join.
        token_file: holds the token.
        agent_options: of the agents, as on their command line.
        on_error: told the name of a node that can't be created, and why.
    """

    address: str
    token_file: Path
    folder: Path
    agent_options: list[str]
    on_error: Callable[[str, str], None]


class LocalProvider:
    """Agents on this host, each playing a node."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def create(self, name: str) -> None:
        site = self._site
        log = site.folder / "logs" / f"agent-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "real_backend", "agent", "--join", site.address, "--name", name]
        command += ["--token-file", str(site.token_file), *site.agent_options]
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with log.open("ab") as file:
            self._processes[name] = subprocess.Popen(
                command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )  # a session of its own: Ctrl-C is for the controller, which then sends its agents home
        threading.Thread(target=self._watch, args=(name, self._processes[name]), daemon=True).start()

    def _watch(self, name: str, process: subprocess.Popen[bytes]) -> None:
        code = process.wait()
        if code and name in self._processes:
            log = self._site.folder / "logs" / f"agent-{name}.log"
            self._site.on_error(name, f"the agent ended with code {code}; see {log}")

    def delete(self, name: str) -> None:
        self._processes.pop(name, None)  # it has been told to quit, and will

    def close(self) -> None:
        processes, self._processes = self._processes, {}
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KEEP_S)
            if process.poll() is None:
                process.kill()


class CommandProvider:
    """Runs the user's own commands; they get NODE_NAME, CONTROLLER (HOST:PORT) and REAL_BACKEND_TOKEN to pass on.

    What is created must end up running `python -m real_backend agent --join $CONTROLLER --name $NODE_NAME`.
    """

    def __init__(self, site: Site, create: str, delete: str) -> None:
        for name, command in (("create", create), ("delete", delete)):
            if not command.strip():
                raise BackendError(f"live.{name}_command: provider=command needs it; NODE_NAME names the node")
        self._site, self._create, self._delete = site, create, delete
        self._threads: list[threading.Thread] = []

    def create(self, name: str) -> None:
        self._run(name, self._create)

    def delete(self, name: str) -> None:
        self._run(name, self._delete)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(_KEEP_S)

    def _run(self, name: str, command: str) -> None:
        thread = threading.Thread(target=self._call, args=(name, command), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _call(self, name: str, command: str) -> None:
        site = self._site
        log = site.folder / "logs" / f"provider-{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        token = site.token_file.read_text(encoding="utf-8").strip()
        environment = {**os.environ, "NODE_NAME": name, "CONTROLLER": site.address, "REAL_BACKEND_TOKEN": token}
        try:
            with log.open("ab") as file:
                code = subprocess.run(
                    shlex.split(command), stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment
                ).returncode
        except OSError as error:
            site.on_error(name, f"{command}: can't be run: {error.strerror}")
            return
        if code:
            site.on_error(name, f"{command}: exit code {code}; see {log}")


class JoinProvider:
    """Waits for agents that somebody starts."""

    def create(self, name: str) -> None:
        pass

    def delete(self, name: str) -> None:
        pass

    def close(self) -> None:
        pass
