"""Published and own measurements of step times: what `python -m workloads fit` reads."""

from workloads.measurements.source import SOURCES, Measurements, MeasurementSource, source_class

__all__ = ["SOURCES", "MeasurementSource", "Measurements", "source_class"]
