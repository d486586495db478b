"""Figures of a run and of a comparison, as PNG and SVG, from records. matplotlib is imported when one is drawn."""

from simulator.figures.comparison import draw_comparison
from simulator.figures.run import draw_run

__all__ = ["draw_comparison", "draw_run"]
