"""One figure of fits: measured against fitted, on the rows that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from workloads.fit import Fitted

_MOST_POINTS = 30  # of a fit: more can't be told apart and would swell the SVG
_COLUMNS = 3
_BAND_FRAC = 0.1
_STYLE = {"svg.hashsalt": "workloads", "axes.titlelocation": "left", "axes.titleweight": "bold"}


def save(fitted: Sequence[Fitted], title: str, folder: Path) -> list[Path]:
    """Writes `fit.svg`, a panel a GPU type; nothing where no fit has rows that were held out."""
    import matplotlib as mpl  # slow to import, as is seaborn
    import pandas as pd
    import seaborn as sns
    from matplotlib.figure import Figure

    points = pd.DataFrame([point for each in fitted for point in _points(each)])
    if points.empty:
        return []
    path = folder / "fit.svg"
    gpu_types, names = sorted(points["gpu_type"].unique()), sorted(points["application"].unique())
    num_columns = min(len(gpu_types), _COLUMNS)
    num_rows = -(-len(gpu_types) // num_columns)
    ends = np.array([points[["measured_s", "fitted_s"]].min().min(), points[["measured_s", "fitted_s"]].max().max()])
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's matplotlibrc says
        sns.set_theme(style="whitegrid", palette="colorblind", font_scale=0.85, rc=_STYLE)
        figure = Figure(figsize=(3.4 * num_columns + 1.6, 3.2 * num_rows + 0.6), layout="constrained")
        figure.suptitle(f"{title}: steps that were held out; the band is ±{_BAND_FRAC:.0%}", x=0.01, ha="left")
        panels = figure.subplots(num_rows, num_columns, squeeze=False, sharex=True, sharey=True).ravel()
        for gpu_type, ax in zip(gpu_types, panels, strict=False):
            here = points[points["gpu_type"] == gpu_type]
            ax.fill_between(ends, ends * (1 - _BAND_FRAC), ends * (1 + _BAND_FRAC), color="#9ca3af", alpha=0.35, lw=0)
            ax.plot(ends, ends, color="#374151", linewidth=0.8)
            sns.scatterplot(
                here, x="measured_s", y="fitted_s", hue="application", hue_order=names, style="application",
                style_order=names, s=16, linewidth=0, alpha=0.8, ax=ax, legend=ax is panels[0],
            )  # fmt: skip
            ax.set(xscale="log", yscale="log", title=gpu_type, xlabel="measured step (s)", ylabel="fitted step (s)")
        for ax in list(panels)[len(gpu_types) :]:
            ax.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        panels[0].get_legend().remove()
        figure.legend(handles, labels, loc="outside right upper", frameon=False)
        figure.savefig(path, metadata={"Date": None})
    return [path]


def _points(each: Fitted) -> list[dict[str, Any]]:
    report = each.report
    if report is None or report.held_out is None or report.predicted_s is None:
        return []
    pairs = list(zip(report.held_out.step_s, report.predicted_s, strict=True))[:_MOST_POINTS]
    names = {"application": each.measured.application, "gpu_type": each.measured.gpu_type}
    return [{**names, "measured_s": measured_s, "fitted_s": fitted_s} for measured_s, fitted_s in pairs]
