"""Manifests in, manifests out: what other autoscalers are told, as policies and services here, and back.

| document | becomes | module |
|---|---|---|
| HorizontalPodAutoscaler, autoscaling/v2 | `kubernetes_hpa` | hpa |
| ScaledObject, keda.sh/v1alpha1 | `keda` | keda |
| NodePool, karpenter.sh/v1 | `karpenter` | karpenter |
| the flags of the cluster-autoscaler, as a list or in its Deployment | `cluster_autoscaler` | cluster_autoscaler |
| a Serve config, or an `autoscaling_config` | `ray_serve` | ray_serve |
| policies of Application Auto Scaling, JSON | `target_tracking`, `step` | aws |
| Deployment, apps/v1 | a service | deployment |
| TFJob, PyTorchJob, MPIJob, MXJob | jobs (`workload=kubeflow`) | workloads.readers.kubeflow; back: kubeflow |

Versions as of autumn 2026. Each field is used, or ignored by name, or refused. How they are used: docs/manifests.md
"""

from simulator.manifests.choice import expanded, resolved
from simulator.manifests.scaling import Found, read_policies, write_policy

__all__ = ["Found", "expanded", "read_policies", "resolved", "write_policy"]
