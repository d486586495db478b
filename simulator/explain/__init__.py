"""Why a scaling policy did, or did not, change something at a time: reads the reasons that a run with `explain=true`
has recorded (`policies.reasons` says what is in them), and what came of them.
"""

from simulator.explain.asked import Asked, Explained
from simulator.explain.outcome import Unit, coming, ordered, removed
from simulator.explain.sentences import sentence

__all__ = ["Asked", "Explained", "Unit", "coming", "ordered", "removed", "sentence"]
