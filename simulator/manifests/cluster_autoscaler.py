"""The flags of the Kubernetes cluster-autoscaler (1.34, as of autumn 2026) and `cluster_autoscaler`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from policies.scaling.ca_scale_up import EXPANDERS
from policies.scaling.cluster_autoscaler import ClusterAutoscaler
from simulator.manifests.metrics import MetricNames
from simulator.manifests.written import Written, unsaid
from workloads.manifests import Fields, ManifestError
from workloads.manifests.documents import Document
from workloads.manifests.quantities import format_seconds

KIND, POLICY = "cluster-autoscaler", "cluster_autoscaler"
_SECONDS = {
    "scan-interval": "period_s",
    "max-node-provision-time": "max_provision_s",
    "initial-node-group-backoff-duration": "backoff_s",
    "max-node-group-backoff-duration": "max_backoff_s",
    "node-group-backoff-reset-timeout": "reset_backoff_s",
    "scale-down-unneeded-time": "unneeded_s",
    "scale-down-delay-after-add": "delay_after_add_s",
    "scale-down-delay-after-delete": "delay_after_delete_s",
}
_COUNTS = {"max-scale-down-parallelism": "max_parallel", "max-drain-parallelism": "max_drain"}
_IGNORED = (
    *("v", "logtostderr", "stderrthreshold", "alsologtostderr", "cloud-provider", "cloud-config", "cluster-name"),
    *("namespace", "kubeconfig", "kubernetes", "address", "leader-elect", "profiling", "emit-per-nodegroup-metrics"),
    *("write-status-configmap", "status-config-map-name", "user-agent"),
)
_WITHOUT_EFFECT = {
    "scale-down-utilization-threshold": "is that of nodes without GPUs; here all have some",
    "scale-down-delay-after-failure": "removals don't fail here",
    "skip-nodes-with-local-storage": "no job has any",
    "skip-nodes-with-system-pods": "there are none",
    "skip-nodes-with-custom-controller-pods": "there are none",
    "node-group-auto-discovery": "the bounds are cluster.min_nodes and cluster.max_nodes",
    "balance-similar-node-groups": "there is one group a pool",
    "ignore-daemonsets-utilization": "there are none",
}


def flags_of(document: Document) -> list[str] | None:
    """The flags, in a list, in a text, or in a Deployment of the cluster-autoscaler; None where there are none."""
    content = document.content
    if isinstance(content, str) and content.startswith("-"):
        return content.split()
    if isinstance(content, list) and content and all(isinstance(each, str) for each in content):
        return content
    if document.kind != "Deployment":
        return None
    for container in _containers(content):
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        if any(str(word).rpartition("/")[2] == KIND for word in words[:1]):
            return [str(word) for word in words[1:]]
    return None


def _containers(content: Any) -> list[Mapping[str, Any]]:
    for key in ("spec", "template", "spec", "containers"):
        content = content.get(key) if isinstance(content, Mapping) else None
    return [each for each in content or [] if isinstance(each, Mapping)]


def read_flags(flags: Sequence[str], place: str, notes: list[str]) -> dict[str, Any]:
    """The options of `cluster_autoscaler`.

    Raises:
        ManifestError: an unsupported flag, or a value that it doesn't take.
    """
    options: dict[str, Any] = {}
    with _FlagFields(_split(flags, place), place, notes=notes) as given:
        given.ignore(*_IGNORED)
        for flag, why in _WITHOUT_EFFECT.items():
            given.note(why, flag)
        for flag, option in _SECONDS.items():
            options[option] = given.seconds(flag, None)
        for flag, option in _COUNTS.items():
            options[option] = _whole(given, flag)
        for flag, value, why in (
            ("new-pod-scale-up-delay", "0s", "what waits counts at once, or after new_gpu_pod_s"),
            ("estimator", "binpacking", "there is no other"),
        ):
            given.only(flag, value, why)
        options["scale_down"] = _flag(given, "scale-down-enabled")
        threshold = given.number_in_text("scale-down-gpu-utilization-threshold", None)
        options["utilization_threshold"] = threshold
        expander = given.text("expander", None)
        if expander is not None:
            options["expander"] = expander.split(",")
            if not set(options["expander"]) <= set(EXPANDERS):
                raise given.error("expander", f"must be of {', '.join(EXPANDERS)}, with commas between")
        nodes = given.text("nodes", None)
        if nodes is not None:
            least, _, rest = nodes.partition(":")
            most, _, group = rest.partition(":")
            if not (least.isdigit() and most.isdigit() and group) or int(least) > int(most):
                raise given.error("nodes", "must read MIN:MAX:NAME")
            options |= {"min_units": int(least), "max_units": int(most)}
    return {option: value for option, value in options.items() if value is not None}


class _FlagFields(Fields):
    """Flags as fields: all are texts."""

    def path(self, key: str) -> str:
        return f"--{key}"


def _split(flags: Sequence[str], place: str) -> dict[str, str]:
    """flag -> value; one without a value is true."""
    found: dict[str, str] = {}
    last = ""
    for word in flags:
        if word.startswith("-"):
            last, given, value = word.lstrip("-").partition("=")
            if last in found:
                raise ManifestError(f"{place}: --{last}: is there twice")
            found[last] = value if given else "true"
        elif last and found[last] == "true":
            found[last] = word
        else:
            raise ManifestError(f"{place}: {word}: is no flag")
    return found


def _whole(given: Fields, flag: str) -> int | None:
    value = given.text(flag, None)
    if value is not None and not value.isdigit():
        raise given.error(flag, "must be a whole number, 0 or more")
    return None if value is None else int(value)


def _flag(given: Fields, flag: str) -> bool | None:
    value = given.text(flag, None, among=("true", "false"))
    return None if value is None else bool(value == "true")


def write_flags(policy: ClusterAutoscaler, name: str) -> Written:
    """A list of flags.

    Raises:
        ConfigError: an option that no flag says.
    """
    more = ("scale_down", "utilization_threshold", "expander", "min_units", "max_units")
    said = (*_SECONDS.values(), *_COUNTS.values(), *more)
    elsewhere = {"priorities": "the ConfigMap cluster-autoscaler-priority-expander", "seed": "nothing: it is its own"}
    notes = unsaid(POLICY, policy, "the cluster-autoscaler", said, elsewhere)
    flags = [f"--{flag}={format_seconds(getattr(policy, option))}" for flag, option in _SECONDS.items()]
    flags += [f"--{flag}={getattr(policy, option)}" for flag, option in _COUNTS.items()]
    flags.append(f"--scale-down-enabled={str(policy.scale_down).lower()}")
    flags.append(f"--scale-down-gpu-utilization-threshold={policy.utilization_threshold!r}")
    flags.append(f"--expander={','.join(policy.expander)}")
    if policy.max_units is not None:
        flags.append(f"--nodes={policy.min_units}:{policy.max_units}:{name}")
    elif policy.min_units:
        notes.append(f"min_units={policy.min_units}: is said by --nodes=MIN:MAX:NAME, and there is no max_units")
    return Written(flags, ["flags of the cluster-autoscaler", *notes])


def read_cluster_autoscaler(document: Document, names: MetricNames) -> dict[str, Any]:
    """The options of `cluster_autoscaler`, of a document that `flags_of` knows."""
    return read_flags(flags_of(document) or [], document.place, document.notes)
