"""Noise layers (PixelDP) that cannot be meant, and certificates of what has none."""

from __future__ import annotations

from tests.errors.making import CASES, FINISHED, edited, stands

MODEL = 'femnist_cnn(cut="V2")'


def noised(name: str, options: str, model: str = MODEL) -> None:
    """``TINY`` with ``PixelDp(model, options)``."""
    edited(name, MODEL, f"PixelDp({model}, {options})")


def certified(name: str, *options: str) -> None:
    """A case that certifies the finished run of ``TINY``."""
    CASES[name] = lambda here: ["certify", str(stands(here, FINISHED)), *options]


noised("noise-epsilon", "2.0, None")
noised("noise-bound", "1.0, None, bound=0.0")
noised("noise-delta", "1.0, None, delta=1.0")
noised("noise-draws", "1.0, None, draws=0")
noised("noise-form", "1.0, None, form='thapa2022'")
noised("noise-twice", "1.0, None", f"PixelDp({MODEL}, 1.0, None)")
noised("noise-place", "1.0, 'conv3'")
noised("noise-place-within", "1.0, 'conv1.9'")
edited(
    "noise-bound-unknown",
    f'from raysplit import *\n\nscenario = Scenario(\n    name="tiny",\n    population=synthetic_writers(writers=20, '
    f"mean_samples=30, sd_samples=5),\n    model={MODEL}",
    "from raysplit import *\nfrom torch import nn\n\ndef make():\n    return [('a', nn.Sequential(nn.Conv2d(1, 2, 3), nn.GELU())),"
    " ('b', nn.Sequential(nn.Flatten(), nn.Linear(1352, 62)))]\n\nscenario = Scenario(\n    name=\"tiny\",\n    "
    "population=synthetic_writers(writers=20, mean_samples=30, sd_samples=5),\n    "
    "model=PixelDp(sequential(make, (1, 28, 28), 62, cut='a'), 1.0, 'a')",
)
noised("noise-cut", "1.0, 'fc1'")
noised("noise-batch-norm", "1.0, 'stem'", "resnet18((1, 28, 28), 62)")
noised("noise-texts", "1.0, None", "shakespeare_lstm()")
edited(
    "noise-parts",
    f"{MODEL},\n    protocol=SplitFedV2()",
    f"PixelDp({MODEL}, 1.0, None),\n    protocol=VerticalSplit(parties=2)",
)
certified("certify-without-noise")
certified("certify-samples", "--samples", "0")
certified("certify-confidence", "--confidence", "1.0")
