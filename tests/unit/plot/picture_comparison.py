"""Two pictures side by side, without their texts, and the texts of a picture."""

import re

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.legend import Legend
from matplotlib.text import Text

DPI = 50
RMS_MAX = 4.0
"""Of all pixels, counts 0-255: lines that another matplotlib puts half a pixel elsewhere."""
WRONG_MAX = 0.002
"""Share of pixels that differ by more than 40 counts when blurred over 3 × 3."""


def render(figure):
    """A figure without its texts, (y, x, 3) float counts."""
    for artist in figure.findobj(lambda a: isinstance(a, (Text, Legend))):
        artist.set_visible(False)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(float)


def blurred(image):
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = image.shape[:2]
    parts = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return np.mean(parts, axis=0)


def difference(found, wanted):
    """How far two pictures are apart: (rms, share of pixels that are plainly wrong)."""
    if found.shape != wanted.shape:
        return np.inf, 1.0
    rms = float(np.sqrt(np.mean((found - wanted) ** 2)))
    apart = np.abs(blurred(found) - blurred(wanted)).max(axis=2)
    return rms, float((apart > 40).mean())


def said(figure):
    """All texts of a figure in one string; paragraphs are broken into lines."""
    texts = [t.get_text() for t in figure.texts]
    for axes in figure.axes:
        texts += [t.get_text() for t in axes.texts]
        texts += [axes.get_ylabel(), axes.get_xlabel()]
    return re.sub(r"[ \n]+", " ", " ".join(texts))
