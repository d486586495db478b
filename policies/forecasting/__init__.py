"""What a series will be: one forecaster a file, fed with the past only, asked for quantiles.

Read `protocol.py`, then `last_value.py`. `python -m policies.forecasting backtest` scores them on a series.
"""

from policies.forecasting.protocol import Clairvoyant, Forecaster

__all__ = ["Clairvoyant", "Forecaster"]
