"""The plots under the names that users know; they are drawn in `mtl.reports`."""

from .reports.curves import plot_conflict as plot_conflict
from .reports.curves import plot_losses as plot_losses
from .reports.curves import plot_runs as plot_runs
from .reports.curves import plot_validation as plot_validation
from .reports.curves import plot_weights as plot_weights
from .reports.diagrams import plot_architecture as plot_architecture
from .reports.diagrams import plot_layer as plot_layer
from .reports.diagrams import plot_rotary_positions as plot_rotary_positions
from .reports.forward_pass import plot_forward_pass as plot_forward_pass
from .reports.plots import plot_attention as plot_attention
from .reports.plots import plot_comparison as plot_comparison
from .reports.plots import plot_confusion as plot_confusion
