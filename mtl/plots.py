"""The plots by the name that users know; they are drawn in `mtl.reports.plots`."""

from .reports.plots import *  # noqa: F403
