r"""Feature spaces of images: three random orthogonal convolutions (A), and the same net trained on the training part (B).

The net: pixels scaled to [0, 1] by the largest training value; images with a side below 24 enlarged by a whole factor (pixels
repeated; 8 x 8 becomes 24 x 24), so that the last layer keeps several places; three 3x3 convolutions with 32, 64 and 128
channels, stride 2, zero padding 1, no bias, ReLU after each, weights orthogonal with gain \(\sqrt2\); mean and standard
deviation of each of the 128 last channels over places: 256 features, standardised by the training part.

B is trained 3 epochs under a linear layer on its standardised features (Adam, learning rate 0.001, batches of 64, down to 8 below
2,560 images, at most 20,000 training images) to tell the labels or, where there are none, by how many quarter turns an image was
rotated.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.records import Dataset, Records
from .features import Space
from .schema import as_word

CHANNELS = (32, 64, 128)
SMALLEST = 24
LARGEST = 64
EPOCHS = 3
LEARNING_RATE = 1e-3
MOST = 20_000


class Filters(torch.nn.Module):
    """Three strided orthogonal convolutions with mean and standard deviation pooling."""

    def __init__(self, channels: int, seed: int = 0) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.weights = torch.nn.ParameterList()
        for wide in CHANNELS:
            weight = torch.empty(wide, channels * 9)
            torch.nn.init.orthogonal_(weight, gain=math.sqrt(2.0), generator=rng)
            self.weights.append(weight.view(wide, channels, 3, 3))
            channels = wide

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, c, h, w)` in [0, 1] to `(n, 256)`."""
        factor = enlargement(x.shape[-2], x.shape[-1])
        x = x.repeat_interleave(factor, 2).repeat_interleave(factor, 3) if factor > 1 else x
        for weight in self.weights:
            x = F.relu(F.conv2d(x, weight, stride=2, padding=1))
        places = x.flatten(2)
        mean = places.mean(2)
        # The small constant keeps the gradient of the root finite in channels that are flat.
        return torch.cat([mean, torch.sqrt((places - mean[:, :, None]).square().mean(2) + 1e-8)], 1)


def enlargement(height: int, width: int) -> int:
    """Return by how much images are enlarged: to a smaller side of at least 24 where the larger one stays within 64.

    Example:
        >>> enlargement(8, 8), enlargement(28, 28), enlargement(1, 500)
        (3, 1, 1)
    """
    return max(1, min(-(-SMALLEST // min(height, width)), LARGEST // max(height, width)))


def image_spaces(data: Dataset, seed: int) -> dict[str, Space]:
    """Return the spaces A and B of images."""
    top = max(int(data.train.x.max()), 1)
    channels = data.train.x.shape[-1]
    rng = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(data.train), generator=rng)[:MOST].sort().values.numpy()
    train = data.train.take(chosen)
    random = Filters(channels).requires_grad_(False)
    learned = Filters(channels)
    task = Task(learned, train, top, rng)
    task.learn()
    learned.requires_grad_(False)
    return {
        "A": _space("A", "three random orthogonal convolutions, not trained", random, train, top),
        "B": _space("B", task.report(data.valid), learned, train, top),
    }


def _space(name: str, note: str, net: Filters, train: Records, top: int) -> Space:
    sample = _features(net, train, top)
    loc, scale = sample.mean(0), sample.std(0)
    # Channels that are flat on the training part stay near zero instead of blowing up their rounding.
    scale = np.maximum(scale, 1e-2 * scale.max() + 1e-12)

    def embed(records: Records) -> np.ndarray:
        return (_features(net, records, top) - loc) / scale

    return Space("A" if name == "A" else "B", note, embed)


def _pixels(x: np.ndarray, top: int) -> Tensor:
    return torch.tensor(x).permute(0, 3, 1, 2).float() / top


def _features(net: Filters, records: Records, top: int) -> np.ndarray:
    batch = max(1, 2**18 // max(int(np.prod(records.x.shape[1:])), 1))
    with torch.no_grad():
        parts = [net(_pixels(records.x[i : i + batch], top)) for i in range(0, len(records), batch)]
    return torch.cat(parts).numpy() if parts else np.zeros((0, 2 * CHANNELS[-1]), np.float32)


class Task:
    """What B learns: the labels, or without labels by how many quarter turns an image was rotated.

    The net is followed by a linear layer on its features, standardised as they are before training.
    """

    def __init__(self, net: Filters, train: Records, top: int, rng: torch.Generator) -> None:
        self.net, self.train, self.top, self.rng = net, train, top, rng
        self.names, levels = label_levels(train)
        self.turns = len(self.names) < 2
        self.levels = torch.from_numpy(levels)
        before = torch.from_numpy(_features(net, train.take(slice(0, 1000)), top))
        self.loc, self.scale = before.mean(0), before.std(0, unbiased=False).clamp(min=1e-3)
        self.head = torch.nn.Parameter(torch.zeros(2 * CHANNELS[-1] + 1, 4 if self.turns else len(self.names)))

    def learn(self) -> None:
        """Train net and linear layer for three epochs."""
        optimizer = torch.optim.Adam([*self.net.parameters(), self.head], lr=LEARNING_RATE)
        usable = torch.arange(len(self.train)) if self.turns else torch.nonzero(self.levels >= 0)[:, 0]
        batch = max(8, min(64, len(usable) // 40))
        for _ in range(EPOCHS):
            for rows in usable[torch.randperm(len(usable), generator=self.rng)].split(batch):
                logits, y = self._answers(self.train.x[rows.numpy()], self.levels[rows])
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                optimizer.step()

    def report(self, valid: Records) -> str:
        """Say what was learned and how well it does on at most 5,000 validation images."""
        valid = valid.take(slice(0, 5000))
        levels = torch.from_numpy(label_levels(valid, self.names)[1])
        right = 0
        with torch.no_grad():
            for start in range(0, len(valid), 256):
                logits, y = self._answers(valid.x[start : start + 256], levels[start : start + 256])
                right += int((logits.argmax(1) == y).sum())
        count = len(valid) if self.turns else int((levels >= 0).sum())
        what = "rotations (no labels)" if self.turns else f'"{self.train.target or "label"}"'
        seen = "" if len(self.train) < MOST else f" of {MOST:,} training images"
        return f"trained {EPOCHS} epochs on {what}{seen}: accuracy {right / max(count, 1):.2f} on {count} validation images"

    def _answers(self, images: np.ndarray, levels: Tensor) -> tuple[Tensor, Tensor]:
        x = _pixels(images, self.top)
        if self.turns:
            levels = torch.randint(4, (len(x),), generator=self.rng)
            x = rotated(x, levels)
        features = (self.net(x) - self.loc) / self.scale
        return features @ self.head[:-1] + self.head[-1], levels


def rotated(x: Tensor, quarters: Tensor) -> Tensor:
    """Return images `(n, c, h, w)`, padded to squares, each turned by its number of quarter turns `(n,)`."""
    h, w = x.shape[-2:]
    side = max(h, w)
    x = F.pad(x, ((side - w) // 2, side - w - (side - w) // 2, (side - h) // 2, side - h - (side - h) // 2))
    out = torch.empty_like(x)
    for k in range(4):
        out[quarters == k] = torch.rot90(x[quarters == k], k, (2, 3))
    return out


def label_levels(records: Records, names: list[str] | None = None) -> tuple[list[str], np.ndarray]:
    """Return the label names (sorted, or as given) and `(n,)` their numbers, -1 where unknown.

    Example:
        >>> label_levels(Records("image", np.zeros((3, 1, 1, 1)), np.array(["b", "a", None], object)))
        (['a', 'b'], array([ 1,  0, -1]))
    """
    if records.labels is None:
        return names or [], np.full(len(records), -1)
    codes, values = pd.factorize(np.asarray(records.labels, dtype=object))
    words = [as_word(v) for v in values]
    names = sorted(set(words)) if names is None else names
    known = {name: k for k, name in enumerate(names)}
    return names, np.array([*(known.get(w, -1) for w in words), -1], dtype=np.int64)[codes]


def pixel_vectors(records: Records, train: Records) -> np.ndarray:
    """Return images as `(n, d)` float32 vectors: pixels over the largest training value, averaged to at most 64 x 64."""
    top = max(int(train.x.max()), 1)
    parts = []
    for start in range(0, len(records), 1024):
        x = _pixels(records.x[start : start + 1024], top)
        if max(x.shape[-2:]) > LARGEST:
            x = F.adaptive_avg_pool2d(x, (min(LARGEST, x.shape[-2]), min(LARGEST, x.shape[-1])))
        parts.append(x.flatten(1))
    return torch.cat(parts).numpy()
