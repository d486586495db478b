"""How far the simulator was off: the same jobs under the same policies, live and simulated, as numbers and as a page.

Reads runs only, of one schema in both worlds; loads no torch.
"""

from real_backend.report.pairs import About, Pair, load_pairs
from real_backend.report.write import write_report

__all__ = ["About", "Pair", "load_pairs", "write_report"]
