"""How far an image is from those that a classifier was trained on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHRINKAGE = 0.1  # of the covariance towards a sphere: there are fewer images than its entries


class OodScore(nn.Module):
    """The Mahalanobis distance of features from the training images' (Lee et al. 2018, arXiv 1807.03888), one Gaussian
    for all classes, divided by the root of the features' number: about 1 for a training image.

    What :meth:`fit` finds is in the state dict and travels in the model file.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.zeros(width, width))

    def fit(self, features: Tensor) -> None:
        """Take over the distribution of ``features`` (N, width)."""
        x = features.double()
        covariance = torch.cov(x.T)
        sphere = covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=x.dtype)
        values, vectors = torch.linalg.eigh((1 - SHRINKAGE) * covariance + SHRINKAGE * sphere)
        self.mean.copy_(x.mean(dim=0))
        self.whitening.copy_(vectors / values.clamp(min=1e-12).sqrt())

    def forward(self, features: Tensor) -> Tensor:
        """Distances (N,) of ``features`` (N, width); 0 before :meth:`fit`."""
        return ((features - self.mean) @ self.whitening).square().mean(dim=1).sqrt()
