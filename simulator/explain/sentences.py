"""The steps of an explanation in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Step = Mapping[str, Any]
_TITLES = {"cool_down": "cool-down"}


def sentence(step: Step) -> str:
    """What a step says; of one that isn't known here, or that lacks what it should have, its facts as they are."""
    try:
        return _SENTENCES[step["step"]](step)
    except (KeyError, TypeError, ValueError):
        return ", ".join(f"{name} {number(value)}" for name, value in step.items() if name not in ("step", "holds"))


def plainly(step: Step) -> str:
    """Why a step that holds the count does so."""
    try:
        return _PLAINLY.get(step["step"], sentence)(step)
    except (KeyError, TypeError, ValueError):
        return sentence(step)


def title(step: Step) -> str:
    """The name of a step."""
    return _TITLES.get(step["step"], step["step"].replace("_", " "))


def number(value: Any) -> str:
    """A number as short as it is still useful."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "unknown" if value is None else str(value)
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def seconds(time_s: float) -> str:
    return f"{number(time_s)} s"


def several(count: int, what: str) -> str:
    """`3 nodes`, `1 node`."""
    return f"{number(count)} {what}" if count != 1 else f"1 {what.removesuffix('s')}"


def _metric(step: Step) -> str:
    age = [f"{seconds(step['age_s'])} old"] if "age_s" in step else []
    window = f" over {seconds(step['window_s'])}" if step.get("window_s") else ""
    if step["value"] is None:
        newest = f"; the newest sample is {age[0]}" if age else ""
        return f"{step['metric']}: not measured{window}{newest}"
    told = f"{step['metric']} {number(step['value'])}"
    if "lowest" in step:
        return "; ".join([told, f"{number(step['lowest'])} to {number(step['highest'])}{window}", *age])
    return ", ".join([f"{told}{window}", *age])


def _forecast(step: Step) -> str:
    quantile = f", quantile {number(step['quantile'])}" if "quantile" in step else ""
    by = f" ({step['by']}{quantile})" if "by" in step else ""
    if step["load"] is None:
        return f"none yet{by}"
    when = f"at most {number(step['load'])} until then"
    if "lead_s" in step:
        when = f"{number(step['load'])} in {seconds(step['lead_s'])}"
    return f"{when}, which takes {number(step['units'])}{by}"


def _demand(step: Step) -> str:
    if "jobs" in step:
        return f"{several(step['jobs'], 'jobs')} waiting; {several(step['nodes'], 'nodes')} more would take them"
    gpus = f"{several(step['gpus'], 'GPUs')} in all"
    if "unplaced" in step:
        return f"{several(step['unplaced'], 'pods')} waiting that fit on no node, {gpus}"
    return f"{several(step['pods'], 'pods')} waiting, {gpus}"


def _schedule(step: Step) -> str:
    words = {"units": "sets {}", "least": "at least {}", "most": "at most {}"}
    told = [words[name].format(number(step[name])) for name in words if name in step]
    return ", ".join(told) or "nothing is set"


def _ratio(step: Step) -> str:
    each = f" for each of {number(step['units'])}" if "units" in step else ""
    goal = f"{number(step['target'])}{step.get('unit', '')}"
    return f"{number(step['ratio'])} times the target of {goal}{each}{_over_pods(step)}"


def _over_pods(step: Step) -> str:
    """How many pods it is of, and as what those count that have no sample or aren't ready, as Kubernetes does."""
    if "ready" not in step:
        return ""
    told = [f"{number(step['ready'])} ready"]
    for name, words in (("unready", "not ready yet"), ("missing", "without a sample")):
        if step.get(name):
            told.append(f"{number(step[name])} {words}, {_counted_as(step, name)}")
    alone = f"; of the ready ones alone it is {number(step['of_ready'])} times" if "of_ready" in step else ""
    return f", over pods: {'; '.join(told)}{alone}"


def _counted_as(step: Step, name: str) -> str:
    """Against the direction in which the others point: idle where more are called for, busy where fewer are."""
    share = step.get(f"{name}_as")
    if share is None:
        return "left out"
    if not share:
        return "counted as 0%, since the others call for more" if step["of_ready"] > 1 else "counted as 0%"
    what = f"{number(share)}% of what they request" if step.get("unit") else "100% of the target"
    return f"counted as {what}, since the others call for fewer"


def _tolerance(step: Step) -> str:
    span = f"{number(step['low'])} to {number(step['high'])}"
    return f"within {span}: as it should be" if step.get("holds") else f"outside {span}"


def _alarm(step: Step) -> str:
    state = f"{step['direction']}: {'on' if step['on'] else 'off'}"
    bound = number(step["bound"])
    if "points" in step:
        beyond = {"out": "above", "in": "below"}.get(step["direction"], "beyond")
        missing = f", {number(step['missing'])} missing" if step.get("missing") else ""
        return f"{state}, {number(step['breaching'])} of {several(step['points'], 'points')} {beyond} {bound}{missing}"
    for name, beyond in (("lowest", "above"), ("highest", "below")):
        if name in step:
            return f"{state}, the {name} is {number(step[name])}, and has to be {beyond} {bound}"
    return f"{state}, has to be above {bound}"


def _recommendation(step: Step) -> str:
    told = [number(step["count"])]
    if "by" in step:
        told.append(f"by {step['by']}")
    if "most_of" in step:
        told.append(f"the most of {', '.join(map(number, step['most_of']))}")
    if "unrounded" in step:
        told.append(f"from {number(step['unrounded'])}")
    if "busy" in step:
        told.append(f"{number(step['busy'])} of them busy")
    if "now" in step:
        told.append(f"of which {number(step['now'])} for the load as it is")
    if "serves_pods" in step:
        told.append(f"serving {several(step['serves_pods'], 'pods')}")
    if "kind" in step:
        told.append(_adjustment(step))
    return ", ".join(told)


def _adjustment(step: Step) -> str:
    if step["adjustment"] is None:
        return "no step begins so close to the bound"
    size = f"{step['adjustment']:+g}{'%' if step['kind'] == 'percent' else ''} on {number(step['base'])}"
    if step["kind"] == "exact":
        size = f"exactly {number(step['adjustment'])}"
    return f"{size}{', as before the last step' if step.get('rests') else ''}"


def _stabilisation(step: Step) -> str:
    window = f"in the last {seconds(step['window_s'])}"
    if not step["window_s"]:
        return f"{number(step['count'])}: there is no window"
    if step.get("holds"):
        more = "as many" if step["count"] > step["wanted"] else "as few"
        return f"{number(step['count'])} and not {number(step['wanted'])}: {more} were recommended {window}"
    return f"{number(step['count'])}: nothing that was recommended {window} holds it"


def _delay(step: Step) -> str:
    unit = f" {step['unit']}"
    return f"{step['direction']}: called for {number(step['have'])} of {number(step['need'])}{unit}"


def _idle(step: Step) -> str:
    if not step["nodes"]:
        return "no node could go"
    return (
        f"{several(step['nodes'], 'nodes')} could go, the longest for {number(step['have_s'])} of "
        f"{seconds(step['need_s'])}"
    )


def _cut(step: Step, least: Any, most: Any, when: str = "") -> str:
    """What is left of what was wanted, between two numbers of which either may be None."""
    limits = [
        f"{word} {number(limit)}" for word, limit in (("at least", least), ("at most", most)) if limit is not None
    ]
    wanted = f" and not {number(step['wanted'])}" if step.get("holds") else ""
    return f"{number(step['count'])}{wanted}: {' and '.join(limits) or 'no limit'}{when}"


def _wait(step: Step) -> str:
    return f"for {step['what']}" + (f", {seconds(step['left_s'])} to go" if "left_s" in step else "")


_SENTENCES: Mapping[str, Callable[[Step], str]] = {
    "metric": _metric,
    "forecast": _forecast,
    "demand": _demand,
    "schedule": _schedule,
    "ratio": _ratio,
    "tolerance": _tolerance,
    "alarm": _alarm,
    "recommendation": _recommendation,
    "stabilisation": _stabilisation,
    "cool_down": lambda step: f"{step['direction']}: {seconds(step['left_s'])} to go",
    "delay": _delay,
    "idle": _idle,
    "rate_limit": lambda step: _cut(step, step.get("at_least"), step.get("at_most"), " now"),
    "wait": _wait,
    "fixed": lambda step: "what there is stays",
    "note": lambda step: str(step["text"]),
    "bound": lambda step: _cut(step, step["least"], step["most"]),
}


def _no_alarm(step: Step) -> str:
    if "points" in step:
        beyond = {"out": "above", "in": "below"}.get(step["direction"], "beyond")
        points = f"{number(step['breaching'])} of {several(step['points'], 'points')} {beyond} {number(step['bound'])}"
        return f"the alarm to scale {step['direction']} is off, with {points}"
    return f"the alarm to scale {sentence(step)}"


def _unmeasured(step: Step) -> str:
    window = f" for the whole of {seconds(step['window_s'])}" if step.get("window_s") else ""
    return f"{step['metric']} was not measured{window}"


_PLAINLY: Mapping[str, Callable[[Step], str]] = {
    "metric": _unmeasured,
    "demand": lambda step: "nothing waits that needs more",
    "schedule": lambda step: "no action sets another number",
    "tolerance": lambda step: f"the ratio is within the tolerance, {number(step['low'])} to {number(step['high'])}",
    "alarm": _no_alarm,
    "recommendation": lambda step: f"what is called for is what there is: {sentence(step)}",
    "stabilisation": lambda step: (
        f"{number(step['wanted'])} are called for, but {number(step['count'])} were within the last "
        f"{seconds(step['window_s'])}, and stabilisation goes by that"
    ),
    "cool_down": lambda step: f"the cool-down ({step['direction']}) lasts for another {seconds(step['left_s'])}",
    "delay": lambda step: f"it has not been called for for long enough: {sentence(step)}",
    "idle": lambda step: (
        f"no node has been idle for long enough: {sentence(step)}" if step["nodes"] else sentence(step)
    ),
    "rate_limit": lambda step: f"the rate limit allows {sentence(step)}",
    "wait": lambda step: f"it waits {sentence(step)}",
    "fixed": lambda step: "the policy never changes the count",
    "bound": lambda step: f"the bounds allow {sentence(step)}",
}
