"""Imported by the server that workers are forked from: all that a worker's first steps would import, and nothing run.

Only imports: an operation would start torch's threads, which a fork does not take along.
"""

from __future__ import annotations

import importlib

for _name in (
    "torch._dynamo",  # 1 s, at the first optimiser
    "torch.distributed.checkpoint",
    "torch.distributed.elastic.agent.server.local_elastic_agent",
    "torch.nn.parallel",
    "real_backend.models.gpt",
    "real_backend.models.mlp",
    "real_backend.models.resnet",
    "real_backend.rendezvous",
    "real_backend.worker",
):
    importlib.import_module(_name)
