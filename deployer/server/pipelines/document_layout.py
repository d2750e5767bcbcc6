"""Regions of a page (titles, text, tables, figures …): object detection in the order in which a page is read.

The options are those of object-detection; `decoder` is picodet unless they say otherwise.
"""

from typing import Any

import numpy as np

from deployer.server.fields import Body
from deployer.server.model import Model
from deployer.server.pipelines.object_detection import ObjectDetector
from deployer.server.predictor import Work
from deployer.server.vision.geometry import reading_order
from deployer.server.vision.images import image_field


class LayoutDetector(ObjectDetector):
    """One graph from a page to boxes."""

    task = "document-layout"
    decoders = ("picodet", "boxes")

    def predict(self, body: Body) -> Work[dict[str, Any]]:
        """Regions from the top to the bottom, with boxes in the picture's own pixels."""
        picture = image_field(body)
        found = yield from self.find(picture, body)
        regions = [
            {"label": one.label, "score": round(one.score, 4), "box": np.round(one.box, 1).tolist()}
            for one in found
        ]
        if regions:
            order = reading_order(np.array([region["box"] for region in regions]))
            regions = [regions[index] for index in order]
        return {"regions": regions, "width": picture.width, "height": picture.height}


def load(model: Model) -> LayoutDetector:
    """Read the file `model`; its labels stand in the graph's metadata."""
    return LayoutDetector(model)
