"""What goes wrong between a policy and the cluster that it decides for."""

from __future__ import annotations


class PolicyError(ValueError):
    """A policy that can't be had or used: an unknown name, an option out of range, information it isn't given."""


class PlanError(PolicyError):
    """A plan that the cluster can't carry out; names the job, what was asked and what there is. Never clamped."""
