"""A rendezvous whose outcome is known: the controller has settled who is in a gang, and the elastic agent only joins.

torch's own rendezvous find out who is there by waiting; docs/real_backend.md says what that costs.
"""

from __future__ import annotations

from torch.distributed import Store
from torch.distributed.elastic.rendezvous.api import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo


class SettledRendezvous(RendezvousHandler):
    """Always the same place in the same gang.

    Args:
        rank: of this node among the `num_nodes` of the gang.
        address: of the store that workers may use.
    """

    def __init__(self, run_id: str, store: Store, rank: int, num_nodes: int, address: tuple[str, int]) -> None:
        self._run_id, self._store, self._rank, self._num_nodes = run_id, store, rank, num_nodes
        self._info = RendezvousStoreInfo(*address)

    def get_backend(self) -> str:
        return "settled"

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(self._store, self._rank, self._num_nodes, self._info)

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True
