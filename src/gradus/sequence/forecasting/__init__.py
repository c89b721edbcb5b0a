"""Forecasting: the next values of a series from those before. Imports torch when first used."""

from gradus.lazy import attach

__all__ = ["Forecast", "Forecaster", "SeasonalNaive", "seasonal_naive"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "models": ("SeasonalNaive", "seasonal_naive"),
        "product": ("Forecaster",),
        "recipes": ("Forecast",),
    },
)
