"""What a training or a measurement showed, in one HTML file that needs nothing else: no scripts, no links."""

from .classification import ObservedImages
from .observed import Observed
from .sections import Training
from .write import observer, write_report

__all__ = ["Observed", "ObservedImages", "Training", "observer", "write_report"]
