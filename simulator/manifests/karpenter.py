"""NodePool, karpenter.sh/v1 (Karpenter 1.14, as of autumn 2026) and `karpenter`."""

from __future__ import annotations

import math
import re
from typing import Any

from policies.scaling.karpenter import CONSOLIDATION, Karpenter
from simulator.errors import ConfigError
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written, unsaid
from workloads.manifests import Fields
from workloads.manifests.quantities import format_seconds, parse_seconds

KIND, API_VERSION, POLICY = "NodePool", "karpenter.sh/v1", "karpenter"
NEVER = "Never"
EXPIRY = "720h"  # of a node, by default
_ELSEWHERE = {"batch_idle_s": "Karpenter's BATCH_IDLE_DURATION", "batch_max_s": "Karpenter's BATCH_MAX_DURATION"}
_NODES = re.compile(r"(100|\d{1,2})%|\d+")


def read_karpenter(fields: Fields, names: MetricNames) -> dict[str, Any]:
    """The options of `karpenter`."""
    options: dict[str, Any] = {}
    with fields, fields.section("spec", needed=True) as spec:
        fields.ignore("kind", "metadata", "status")
        fields.text("apiVersion", among=(API_VERSION,))
        spec.note("there is one NodePool a pool", "weight")
        spec.refuse("replicas", "of a fixed number of nodes: scaling=static")
        _template(spec.section("template", needed=True))
        with spec.section("limits") as limits:
            for key in limits.content:
                if key != "nodes":
                    limits.refuse(str(key), "what a node has is up to cluster.instance; limit the nodes: limits.nodes")
            nodes = limits.quantity("nodes", None)
            if nodes is not None:
                if nodes.denominator != 1:
                    raise limits.error("nodes", "must be a whole number of nodes")
                options["max_units"] = int(nodes)
        with spec.section("disruption") as disruption:
            options["consolidation"] = disruption.text("consolidationPolicy", CONSOLIDATION[0], among=CONSOLIDATION)
            if disruption.take("consolidateAfter", "0s") == NEVER:
                options["consolidate_after_s"] = math.inf
            else:
                options["consolidate_after_s"] = disruption.seconds("consolidateAfter", 0.0)
            if disruption.has("budgets"):
                options["budget_frac"] = min(_budget(each) for each in disruption.items("budgets", needed=True))
            disruption.ignore("budgets")
    return options


def _template(template: Fields) -> None:
    with template, template.section("spec", needed=True) as spec:
        template.ignore("metadata")
        spec.ignore("nodeClassRef")
        spec.note("the nodes of a pool are those of cluster.instance", "requirements")
        spec.note("there are no taints here", "taints", "startupTaints")
        if spec.take("expireAfter", EXPIRY) != NEVER:
            if spec.seconds("expireAfter", parse_seconds(EXPIRY)) != parse_seconds(EXPIRY):
                why = "nodes don't expire here"
                raise spec.error("expireAfter", f"unsupported value: must be {NEVER}, or {EXPIRY}, the default: {why}")
            spec.notes.append(
                f"{spec.path('expireAfter')}: by default nodes expire after {EXPIRY}, which isn't simulated"
            )
        spec.refuse("terminationGracePeriod", "a node drains until its jobs are over")


def _budget(fields: Fields) -> float:
    """A share of the nodes; of several the least counts."""
    with fields:
        for key in ("schedule", "duration"):
            fields.refuse(key, "a budget holds at all times")
        if fields.has("reasons") and not {"Empty", "Underutilized"} <= set(fields.texts("reasons")):
            raise fields.error("reasons", "unsupported value: a budget holds for both, Empty and Underutilized")
        fields.ignore("reasons")
        nodes: str = fields.text("nodes", "10%")
        if not _NODES.fullmatch(nodes):
            raise fields.error("nodes", "must be a percentage such as 10%, or 0")
        if nodes != "0" and not nodes.endswith("%"):
            raise fields.error("nodes", "unsupported value: must be a percentage such as 10%, or 0")
        return int(nodes.removesuffix("%")) / 100


def write_karpenter(policy: Karpenter, name: str) -> Written:
    """The NodePool.

    Raises:
        ConfigError: an option that no NodePool can say.
    """
    said = ("consolidation", "consolidate_after_s", "budget_frac", "max_units")
    notes = unsaid(POLICY, policy, "a NodePool", said, _ELSEWHERE)
    notes.append("nodeClassRef and requirements say which machines: fill them in")
    percent = round(policy.budget_frac * 100)
    if percent / 100 != policy.budget_frac:
        raise ConfigError(f"{POLICY}: budget_frac={policy.budget_frac}: a NodePool takes whole percents only")
    after = NEVER if policy.consolidate_after_s == math.inf else format_seconds(policy.consolidate_after_s)
    if after.endswith("ms"):
        raise ConfigError(f"{POLICY}: consolidate_after_s={policy.consolidate_after_s}: a NodePool takes whole seconds")
    reference = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"}
    spec: dict[str, Any] = {
        "template": {"spec": {"nodeClassRef": reference, "requirements": [], "expireAfter": NEVER}},
        "disruption": {
            "consolidationPolicy": policy.consolidation,
            "consolidateAfter": after,
            "budgets": [{"nodes": f"{percent}%"}],
        },
    }
    if policy.max_units is not None:
        spec["limits"] = {"nodes": str(policy.max_units)}
    return Written({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}, notes)
