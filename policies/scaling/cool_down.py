"""What holds a step back for a while: what policies with alarms have in common."""

from __future__ import annotations

from policies.view import ClusterView, Target


def is_over(until_s: float, direction: str, view: ClusterView) -> bool:
    """Whether a step in a direction, out or in, may be made again; says so where it may not yet."""
    rests = view.now_s < until_s
    if rests and view.explain:
        view.explain.say("cool_down", direction=direction, left_s=until_s - view.now_s, holds=True)
    return not rests


def all_there(target: Target, view: ClusterView) -> bool:
    """Whether no units are on their way, which a step in has to wait for; says so where some are."""
    if target.num_starting and view.explain:
        view.explain.say("wait", what=f"the {target.num_starting} on their way", holds=True)
    return not target.num_starting
