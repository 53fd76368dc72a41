"""Other views of the same picture, in batches: cropped, smaller, re-encoded, darker.

And pictures of nothing in particular, pieced together from drawn ones in other colours: what tells
two photographs apart should be learnt from more than garments on paper.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

_MOST_CROPPED = 0.09
_HALVED_SHARE = 0.2
_COMPRESSED_SHARE = 0.5
_QUALITIES = (35, 92)


class Views:
    """Draws views, from its own source of chance.

    Batches are float tensors (n, 3, height, width) with values from 0 to 1.
    """

    def __init__(self, side: int, seed: int) -> None:
        self._side = side
        self._chance = torch.Generator().manual_seed(seed)
        self._numbers = np.random.default_rng(seed)

    def whole(self, batch: torch.Tensor) -> torch.Tensor:
        """As the embedder sees them: the whole picture."""
        return self._warped(batch, torch.zeros(len(batch), 4))

    def copied(self, batch: torch.Tensor) -> torch.Tensor:
        """A worse copy of each: its margins cut, in other light, smaller, compressed."""
        crop = self._uniform(len(batch), 4) * _MOST_CROPPED
        return self._stored(self._lit(self._warped(batch, crop), 0.08, 0.02))

    def collages(self, batch: torch.Tensor) -> torch.Tensor:
        """Scenes pieced together from a batch's pictures, (n, 3, height, width) as the batch."""
        count, _, height, width = batch.shape
        scene = self._zoomed(batch)
        rows, columns = torch.arange(height)[:, None] / height, torch.arange(width) / width
        for _ in range(2):
            others = torch.randperm(count, generator=self._chance)
            other = self._recoloured(self._zoomed(batch[others]))
            top, left, tall, wide = self._uniform(4, count, 1, 1).mul(0.75)
            inside = (rows > top) & (rows < top + tall) & (columns > left) & (columns < left + wide)
            scene = torch.where(inside[:, None], other, scene)
        return self._recoloured(scene)

    def _uniform(self, *shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=self._chance)

    def _warped(self, batch: torch.Tensor, crop: torch.Tensor) -> torch.Tensor:
        """Cut shares of the side off left, right, top and bottom, and scale what is left."""
        left, right, top, bottom = crop.unbind(1)
        zeros = torch.zeros_like(left)
        across = torch.stack([1 - left - right, zeros, left - right], 1)
        down = torch.stack([zeros, 1 - top - bottom, top - bottom], 1)
        grid = functional.affine_grid(
            torch.stack([across, down], 1), [len(batch), 3, self._side, self._side], False
        )
        return functional.grid_sample(
            batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def _zoomed(self, batch: torch.Tensor) -> torch.Tensor:
        """Some part of each picture, as large as the whole."""
        kept = 0.25 + 0.75 * self._uniform(len(batch))
        place = self._uniform(len(batch), 2) * (1 - kept)[:, None]
        turn = torch.where(self._uniform(len(batch), 2) < 0.5, -kept[:, None], kept[:, None])
        zeros = torch.zeros_like(kept)
        moved = 2 * place + kept[:, None] - 1
        theta = torch.stack(
            [
                torch.stack([turn[:, 0], zeros, moved[:, 0]], 1),
                torch.stack([zeros, turn[:, 1], moved[:, 1]], 1),
            ],
            1,
        )
        grid = functional.affine_grid(theta, list(batch.shape), False)
        return functional.grid_sample(
            batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False
        )

    def _recoloured(self, batch: torch.Tensor) -> torch.Tensor:
        count = len(batch)
        mixing = torch.softmax(4 * torch.randn(count, 3, 3, generator=self._chance), 2)
        mixed = torch.einsum("nij,njhw->nihw", mixing, batch)
        inverted = self._uniform(count, 1, 1, 1) < 0.3
        mixed = torch.where(inverted, 1 - mixed, mixed)
        return self._lit(mixed, 0.4, 0.2).pow(0.6 + self._uniform(count, 1, 1, 1))

    def _lit(self, batch: torch.Tensor, brightness: float, tint: float) -> torch.Tensor:
        count = len(batch)
        gain = 1 + brightness * (2 * self._uniform(count, 1, 1, 1) - 1)
        tinted = 1 + tint * (2 * self._uniform(count, 3, 1, 1) - 1)
        return (batch * gain * tinted).clamp(0, 1)

    def _stored(self, batch: torch.Tensor) -> torch.Tensor:
        """Some of them halved and back, some of them through JPEG."""
        halved = functional.interpolate(
            functional.avg_pool2d(batch, 2), size=batch.shape[-2:], mode="bilinear"
        )
        small = self._uniform(len(batch), 1, 1, 1) < _HALVED_SHARE
        batch = torch.where(small, halved, batch)
        for row in range(len(batch)):
            if self._numbers.random() < _COMPRESSED_SHARE:
                batch[row] = _through_jpeg(batch[row], int(self._numbers.integers(*_QUALITIES)))
        return batch


def _through_jpeg(picture: torch.Tensor, quality: int) -> torch.Tensor:
    pixels = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "JPEG", quality=quality)
    read = np.asarray(Image.open(target))
    return torch.from_numpy(read.copy()).permute(2, 0, 1).float() / 255
