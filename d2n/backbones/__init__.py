"""Backbones: trunks by name, their weights, normalisation and pooling; what scores and retrieval share.

Every row here; torchvision's classifiers, convolutional ones and ViTs, are backbones by their own names besides.
"""

from __future__ import annotations

from d2n.backbones.dinov2 import DINOV2
from d2n.backbones.row import Backbone
from d2n.backbones.toy import TOY

BACKBONES: dict[str, Backbone] = {row.name: row for row in (TOY, *DINOV2)}
