"""Messages between controller and agents: JSON over a connection that both ends have proved to know the token for.

The proof is the standard library's challenge and response by HMAC (`multiprocessing.connection`); what follows is
neither encrypted nor pickled. Across hosts use it in a network that you trust: torch's own stores and collectives,
which the workers need, have no authentication at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from real_backend.errors import BackendError, TokenRefused

_MOST_BYTES = 1 << 24
_HANDSHAKE_S = 20.0  # on a busy host a process may be this late
Message = dict[str, Any]


class Closed(Exception):
    """The other end is gone."""


class Channel:
    """One connection; `send` may be called from several threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._lock = threading.Lock()

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message.

        Raises:
            Closed: the other end is gone.
        """
        data = json.dumps({"kind": kind, **fields}).encode()
        try:
            with self._lock:
                self.connection.send_bytes(data)
        except (OSError, ValueError) as error:
            raise Closed(str(error)) from None

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None if none comes within the time.

        Raises:
            Closed: the other end is gone, or talks nonsense.
        """
        try:
            if timeout_s is not None and not self.connection.poll(timeout_s):
                return None
            message = json.loads(self.connection.recv_bytes(_MOST_BYTES))
        except (EOFError, OSError, ValueError) as error:
            raise Closed(str(error)) from None
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
            raise Closed("not a message")
        return message

    def close(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            self.connection.close()


class Door:
    """Where agents knock: a listening socket and a thread that lets in those who know the token.

    Args:
        address: "HOST:PORT"; port 0 takes a free one.
        on_open: called, from a thread of the connection, with each new channel; what it returns is called with every
            message, and with None at the end.
        on_refused: called with the address of a peer that did not know the token.
    """

    def __init__(
        self,
        address: str,
        token: str,
        on_open: Callable[[Channel], Callable[[Message | None], None]],
        on_refused: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._token, self._on_open, self._on_refused = token.encode(), on_open, on_refused
        host, port = parse_address(address)
        try:
            self._listener = Listener((host, port), family="AF_INET", backlog=64)
        except OSError as error:
            raise BackendError(f"live.listen={address}: can't listen there: {error.strerror or error}") from None
        self.host, self.port = host, int(self._listener.address[1])
        self._is_open = True
        self._thread = threading.Thread(target=self._accept, name="door", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def close(self) -> None:
        """Lets nobody in any more."""
        self._is_open = False
        with contextlib.suppress(OSError):  # closing alone does not wake the thread that accepts
            socket.create_connection((_reachable(self.host), self.port), timeout=1.0).close()
        self._thread.join(1.0)
        self._listener.close()

    def _accept(self) -> None:
        while self._is_open:
            try:
                connection = self._listener.accept()
            except (OSError, EOFError):
                continue
            if not self._is_open:
                connection.close()
                break
            peer = str(self._listener.last_accepted)
            threading.Thread(target=self._serve, args=(connection, peer), name=f"peer {peer}", daemon=True).start()

    def _serve(self, connection: Connection, peer: str) -> None:
        guard = threading.Timer(_HANDSHAKE_S, connection.close)  # one that never answers
        guard.daemon = True
        guard.start()
        try:
            deliver_challenge(connection, self._token)
            answer_challenge(connection, self._token)
        except (AuthenticationError, EOFError, OSError, AssertionError, ValueError, TypeError):
            if self._is_open:
                self._on_refused(peer)
            with contextlib.suppress(OSError):
                connection.close()
            return
        finally:
            guard.cancel()
        channel = Channel(connection)
        hear = self._on_open(channel)
        try:
            while message := channel.receive():
                hear(message)
        except Closed:
            pass
        channel.close()
        hear(None)


def knock(address: str, token: str) -> Channel:
    """Connects to a controller's door.

    Raises:
        TokenRefused: it doesn't know this token.
        OSError: nobody is there.
    """
    host, port = parse_address(address)
    try:
        return Channel(Client((host, port), family="AF_INET", authkey=token.encode()))
    except AuthenticationError:
        raise TokenRefused(f"{address}: refused: the token is not the controller's") from None
    except EOFError:
        raise ConnectionError(f"{address}: closed the connection") from None


def parse_address(text: str) -> tuple[str, int]:
    """("HOST", PORT) of "HOST:PORT".

    Raises:
        BackendError: it isn't one.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise BackendError(f"{text!r}: must read HOST:PORT, such as 127.0.0.1:29600")
    return host.strip("[]"), int(port)


def make_token() -> str:
    """A new secret."""
    return secrets.token_urlsafe(24)


def write_secret(path: Path, content: str) -> None:
    """A file that only its owner can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(content + "\n")


def read_token(environment: Mapping[str, str], path: Path | None) -> str:
    """The token that an agent is to use: from a file, else from REAL_BACKEND_TOKEN.

    Raises:
        BackendError: there is none.
    """
    if path is not None:
        try:
            return path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise BackendError(f"--token-file {path}: can't be read: {error.strerror}") from None
    if token := environment.get("REAL_BACKEND_TOKEN", "").strip():
        return token
    raise BackendError("no token: give --token-file FILE or set REAL_BACKEND_TOKEN to the controller's")


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "") else host
