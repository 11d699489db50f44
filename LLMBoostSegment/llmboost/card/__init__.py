"""The card of a model file: what the model is, what it takes and gives, read without torch.

A model file is one .safetensors file: eight bytes with the header's length (little endian), the header (JSON),
then the raw tensors. The header's ``__metadata__`` holds the card as JSON under ``llmboost_card``. Reading a card
costs one small read, so that a panel can list models at once; this module needs the standard library alone.
"""

from .card import CROP, Card
from .checks import CONTROL, INPUT_REGIONS, MAX_LABEL
from .fields import (
    CLASSIFICATION,
    ENSEMBLE,
    LEFT,
    PALETTE,
    RIGHT,
    SEGMENTATION,
    TISSUE,
    Adapter,
    Cascade,
    Classification,
    Code,
    Flag,
    Label,
    Looks,
    Normalization,
    Preprocessing,
    Quality,
    Subject,
    Target,
    same_name,
)
from .header import METADATA_KEY, check_weights, read_card, read_header, tensor_digest, write_card
from .matching import by_codes, by_name, codes_of, label_codes, label_of, normalized

__all__ = [
    "CLASSIFICATION",
    "CONTROL",
    "CROP",
    "ENSEMBLE",
    "INPUT_REGIONS",
    "LEFT",
    "MAX_LABEL",
    "METADATA_KEY",
    "PALETTE",
    "RIGHT",
    "SEGMENTATION",
    "TISSUE",
    "Adapter",
    "Card",
    "Cascade",
    "Classification",
    "Code",
    "Flag",
    "Label",
    "Looks",
    "Normalization",
    "Preprocessing",
    "Quality",
    "Subject",
    "Target",
    "by_codes",
    "by_name",
    "check_weights",
    "codes_of",
    "label_codes",
    "label_of",
    "normalized",
    "read_card",
    "read_header",
    "same_name",
    "tensor_digest",
    "write_card",
]
