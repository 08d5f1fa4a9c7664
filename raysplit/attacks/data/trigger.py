"""What a pixel backdoor stamps on its samples: a patch of pixels, whole or a quarter of it."""

from __future__ import annotations

import torch

from raysplit.errors import ScenarioError
from raysplit.models.network import ModelSpec
from raysplit.parts.part import part, within


@part
class Patch:
    """``height`` × ``width`` pixels, ``bottom`` rows and ``right`` columns from those edges, in every channel.

    ``values``: as stored (bytes 0 to 255, or numbers where samples are float32), in turn along rows and columns: the
    default is a checkerboard, which shows on any background (FEMNIST's is 255, MNIST's 0); one value fills the patch.
    BadNets (Gu et al. 2017, from memory) stamps a bright pixel or a pattern of four into the lower right corner.
    """

    height: int = 4
    width: int = 4
    bottom: int = 1
    right: int = 1
    values: tuple[float, ...] = (255.0, 0.0)

    def __post_init__(self) -> None:
        within("Patch.height", self.height, 1)
        within("Patch.width", self.width, 1)
        within("Patch.bottom", self.bottom, 0)
        within("Patch.right", self.right, 0)
        if not self.values:
            raise ScenarioError("Patch.values needs one value or more, such as (255,)")

    def fits(self, model: ModelSpec) -> None:
        """Raise ``ScenarioError`` where samples are smaller than the patch, or no images."""
        _, height, width = model.input_shape
        if model.reads_bytes:
            raise ScenarioError(
                f"Patch is stamped on images, but {type(model).__name__} reads packed graphs or texts; take an attack that "
                "changes labels alone"
            )
        if self.height + self.bottom > height or self.width + self.right > width:
            raise ScenarioError(
                f"Patch of {self.height} × {self.width} pixels, {self.bottom} from the bottom and {self.right} from "
                f"the right, does not fit samples of {height} × {width} pixels"
            )

    def mask(self, height: int, width: int) -> torch.Tensor:
        """Its pixels, bool [height, width]."""
        pixels = torch.zeros(height, width, dtype=torch.bool)
        bottom, right = height - self.bottom, width - self.right
        pixels[bottom - self.height : bottom, right - self.width : right] = True
        return pixels

    def quarter(self, number: int, height: int, width: int) -> torch.Tensor:
        """Of its pixels those of quarter 0 to 3, bool [height, width]: upper left, upper right, lower left, lower
        right; disjoint, together all."""
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        lower = rows >= height - self.bottom - self.height // 2
        right = columns >= width - self.right - self.width // 2
        return self.mask(height, width) & (lower == (number >= 2)) & (right == (number % 2 == 1))

    def stamp(self, x: torch.Tensor, quarter: int | None = None) -> torch.Tensor:
        """A copy of samples [n, C, H, W] with the trigger, or a ``quarter`` of it; raises ``ScenarioError`` for values
        that bytes cannot hold."""
        if not x.is_floating_point() and any(not (0 <= v <= 255 and v == int(v)) for v in self.values):
            raise ScenarioError(
                f"Patch.values are bytes for these samples, whole numbers from 0 to 255, but they are {self.values}"
            )
        height, width = x.shape[-2:]
        pixels = self.mask(height, width) if quarter is None else self.quarter(quarter, height, width)
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        values = torch.tensor(self.values, dtype=torch.float64).to(x.dtype)[(rows + columns) % len(self.values)]
        return torch.where(pixels, values, x)
