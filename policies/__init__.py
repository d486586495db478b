"""What decides: scaling, allocation and placement policies, and the controller that both worlds share.

A leaf: numpy only. Read `view.py`, `plan.py` and `protocols.py`, then one policy, then `controller.py`.
"""

from policies.controller import Controller
from policies.errors import PlanError, PolicyError
from policies.job import Job, Placement
from policies.jobs_view import JobsView
from policies.metrics_view import METRICS, SERVICE_METRICS, MetricsView
from policies.nodes import Nodes, NodeSize, Space
from policies.plan import NOTHING, Draft, Gang, Plan
from policies.protocols import AllocationPolicy, ClairvoyantPolicy, PlacementPolicy, ScalingPolicy
from policies.reasons import Reasons
from policies.registry import register, registry
from policies.view import ClusterView, PodSample, PoolView, ServiceView, Target

__all__ = [
    "METRICS",
    "NOTHING",
    "SERVICE_METRICS",
    "AllocationPolicy",
    "ClairvoyantPolicy",
    "ClusterView",
    "Controller",
    "Draft",
    "Gang",
    "Job",
    "JobsView",
    "MetricsView",
    "NodeSize",
    "Nodes",
    "Placement",
    "PlacementPolicy",
    "Plan",
    "PlanError",
    "PodSample",
    "PolicyError",
    "PoolView",
    "Reasons",
    "ScalingPolicy",
    "ServiceView",
    "Space",
    "Target",
    "register",
    "registry",
]
