"""Imported by the server that workers are forked from: all that a worker's first steps would import, and nothing run.

Only imports: an operation would start torch's threads, which a fork does not take along.
"""

from __future__ import annotations

import torch._dynamo
import torch.distributed.checkpoint
import torch.distributed.elastic.agent.server.local_elastic_agent
import torch.nn.parallel
import torch.optim

import real_backend.rendezvous
import real_backend.training
import real_backend.worker  # noqa: F401
