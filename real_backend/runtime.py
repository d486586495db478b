"""What a live run stands on: the clock, the agents and the gangs, put up and taken down again.

Runs, calibration and tests differ only in who says what gangs are to have.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from real_backend.channel import make_token, write_secret
from real_backend.errors import BackendError
from real_backend.fleet import Fleet
from real_backend.gangs import GangOptions
from real_backend.options import LiveOptions, backend_of
from real_backend.providers import CommandProvider, JoinProvider, LocalProvider, Provider, Site
from real_backend.wall_clock import WallClock


class Runtime:
    """A clock, a door for agents, and a provider of them.

    Args:
        folder: of the run; must be the same path on every host.
        slots: workers a node.
        listen: in place of the options' address, by a controller that is restarted.
    """

    def __init__(
        self,
        folder: Path,
        options: LiveOptions,
        device: str,
        method: str,
        slots: int,
        token: str = "",
        listen: str = "",
        began_s: float | None = None,
    ) -> None:
        self.folder, self.options, self.device, self.method = folder.resolve(), options, device, method
        self.backend = backend_of(options, device)
        self.clock = WallClock(began_s)
        self.fleet = Fleet(self.clock, options.away_s)
        self.errors: list[str] = []
        self.on_stillborn: Callable[[str, str], None] = lambda name, why: None
        self.folder.mkdir(parents=True, exist_ok=True)
        token = token or options.token or make_token()
        self._token_file = self.folder / "token"
        write_secret(self._token_file, token)
        self.address = self.fleet.listen(listen or options.listen, token)
        site = Site(self.address, self._token_file, self.folder, self._agent_options(slots), self._on_error)
        self.provider = self._provider(site)

    @property
    def gang_options(self) -> GangOptions:
        options = self.options
        return GangOptions(
            folder=str(self.folder),
            backend=self.backend,
            method=self.method,
            checkpoint_interval_s=options.checkpoint_interval_s,
            num_threads=options.num_threads,
            max_failures=options.max_failures,
            faults=options.faults,
        )

    def bring_up(self, names: list[str], report: Callable[[str], None] = lambda _: None) -> float:
        """Has the first nodes come; returns how long they took.

        Raises:
            BackendError: they don't come in time.
        """
        began_s = self.clock.read()
        if self.options.provider == "join":
            report(
                f"waiting for {len(names)} nodes; on each: python -m real_backend agent --join {self.address} "
                f"--token-file {self._token_file}"
            )
        for name in names:
            self.provider.create(name)
        timeout_s = self.options.join_timeout_s
        is_here = self.clock.run_until(
            lambda: len(self.fleet.agents) >= len(names) or bool(self.errors), began_s + timeout_s
        )
        if self.errors:
            raise BackendError(f"a node did not come: {self.errors[0]}")
        if not is_here:
            raise BackendError(
                f"{len(self.fleet.agents)} of {len(names)} nodes joined within {timeout_s:g} s (live.join_timeout_s); "
                f"see {self.folder / 'logs'}"
            )
        return self.clock.read() - began_s

    def close(self) -> None:
        """Sends all agents home and takes away what only the run needed."""
        self.fleet.close()
        self.provider.close()
        with suppress(OSError):
            self._token_file.unlink()
        if not self.options.keep_checkpoints:
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)

    def _provider(self, site: Site) -> Provider:
        options = self.options
        if options.provider == "local":
            return LocalProvider(site)
        if options.provider == "command":
            return CommandProvider(site, options.create_command, options.delete_command)
        return JoinProvider()

    def _agent_options(self, slots: int) -> list[str]:
        options = self.options
        given = {
            "slots": slots,
            "device": self.device,
            "slots-per-gpu": options.slots_per_gpu,
            "host": options.host,
            "start": options.start,
            "heartbeat-timeout-s": options.heartbeat_timeout_s,
            "orphan-s": options.orphan_s,
            "network-gib-per-s": options.network_gib_per_s,
        }
        return [text for name, value in given.items() for text in (f"--{name}", str(value))]

    def _on_error(self, name: str, why: str) -> None:
        """From a provider's thread."""
        self.clock.post(lambda: self._note_error(name, why))

    def _note_error(self, name: str, why: str) -> None:
        self.errors.append(f"{name}: {why}")
        self.on_stillborn(name, why)


def names_of(count: int, first: int = 0) -> list[str]:
    """Names of nodes in order."""
    return [f"node{number}" for number in range(first, first + count)]
