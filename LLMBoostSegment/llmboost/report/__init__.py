"""What a training or a measurement showed, in one HTML file that needs nothing else: no scripts, no links."""

from .observed import Observed
from .write import Training, write_report

__all__ = ["Observed", "Training", "write_report"]
