r"""Autoregressive nets over symbols: \(p(z \mid h) = \prod_t p(z_t \mid z_{<t}, h)\) for sequences and for grids of symbols.

Each scores all places in one pass, and draws one place after the other from what it remembers: a draw costs about as much as
one pass, not one pass a place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RANGE = 3  # rows and columns that a masked convolution reaches back, its own included
HEAD_SIZE = 32  # of attention


class Autoregression(nn.Module, ABC):
    """A law over `(n, places)` symbols 0 .. levels - 1. Subclasses write `forward`, `begin` and `step`.

    Arguments:
        places: Symbols of a sequence, or of a grid row by row.
        levels: Different symbols.
        context: Numbers in h; 0 for none.
    """

    def __init__(self, places: int, levels: int, context: int = 0) -> None:
        super().__init__()
        self.places, self.levels, self.context = places, levels, context

    @abstractmethod
    def forward(self, z: Tensor, h: Tensor | None = None) -> Tensor:
        """Return `(n, places, levels)` logits of every place given those before it."""

    @abstractmethod
    def begin(self, n: int, h: Tensor | None) -> Any:
        """Return what `step` remembers, before the first place."""

    @abstractmethod
    def step(self, memory: Any, place: int, before: Tensor | None) -> Tensor:
        """Return `(n, levels)` logits of a place, given the symbols `(n,)` of the place before it, None for the first."""

    def each(self, z: Tensor, h: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return `(n, places)` log probabilities of every symbol given those before it, nats."""
        logs = torch.log_softmax(self(z, h).to(dtype), 2)
        return logs.gather(2, z[:, :, None])[:, :, 0]

    def log_prob(self, z: Tensor, h: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return `(n,)` log probabilities, nats."""
        return self.each(z, h, dtype).sum(1)

    @torch.no_grad()
    def draw(
        self, n: int, rng: torch.Generator, h: Tensor | None = None, *, kept: Tensor | None = None,
        free: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Draw `(n, places)` symbols; where `free` is False, those of `kept` stay.

        Returns:
            The symbols, and the `(n,)` log probabilities of those that stayed, each given all before it.
        """
        memory, stayed = self.begin(n, h), torch.zeros(n)
        columns: list[Tensor] = []
        for place in range(self.places):
            logs = torch.log_softmax(self.step(memory, place, columns[-1] if columns else None).float(), 1)
            new = torch.multinomial(logs.exp(), 1, generator=rng)[:, 0]
            if kept is not None and free is not None:
                new = torch.where(free[:, place], new, kept[:, place])
                stayed += logs.gather(1, new[:, None])[:, 0].masked_fill(free[:, place], 0.0)
            columns.append(new)
        return torch.stack(columns, 1), stayed


class PixelCNN(Autoregression):
    """Gated masked convolutions over a grid, read row by row.

    One stack of features sees all rows above, without a blind spot, the other one what lies to the left in the row. Both start
    from the grid shifted by one place, so that no convolution needs a mask.

    Arguments:
        grid: `(height, width)`.
        levels: Different symbols.
        context: Numbers in h; 0 for none.
        width: Channels.
        layers: How many gated layers.

    References:
        Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), https://arxiv.org/abs/1606.05328

    Example:
        >>> net = PixelCNN((2, 3), levels=4, width=8, layers=2)
        >>> z, _ = net.draw(5, torch.Generator().manual_seed(0))
        >>> tuple(z.shape), tuple(net.log_prob(z).shape)
        ((5, 6), (5,))
    """

    def __init__(self, grid: tuple[int, int], levels: int, context: int = 0, width: int = 64, layers: int = 8) -> None:
        super().__init__(grid[0] * grid[1], levels, context)
        self.grid = grid
        self.embed = nn.Embedding(levels, width)
        self.where = nn.Parameter(0.1 * torch.randn(2, width, *grid))  # a grid has a middle and edges
        self.layers = nn.ModuleList(_Gated(width, context) for _ in range(layers))
        self.out = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 1), nn.ReLU(), _faint(nn.Conv2d(width, levels, 1)))
        nn.init.normal_(self.embed.weight, std=0.3)

    def forward(self, z: Tensor, h: Tensor | None = None) -> Tensor:
        """Return `(n, places, levels)` logits."""
        seen = self.embed(z).view(len(z), *self.grid, -1).permute(0, 3, 1, 2)
        above = F.pad(seen, (0, 0, 1, 0))[:, :, :-1] + self.where[0]
        left = F.pad(seen, (1, 0))[:, :, :, :-1] + self.where[1]
        for layer in self.layers:
            above, told = layer.look_up(F.pad(above, (0, 0, RANGE - 1, 0)), h)  # type: ignore[operator]
            left = layer.look_left(F.pad(left, (RANGE - 1, 0)), told)  # type: ignore[operator]
        return self.out(left).flatten(2).transpose(1, 2)

    def begin(self, n: int, h: Tensor | None) -> dict[str, Any]:
        """Return an empty memory: for every layer the last rows that it saw, and the last places of the row."""
        width = self.embed.embedding_dim
        rows = [torch.zeros(n, width, RANGE - 1, self.grid[1]) for _ in self.layers]
        return {"h": h, "rows": rows, "places": [], "told": [], "row": torch.zeros(n, width, 1, self.grid[1])}

    def step(self, memory: dict[str, Any], place: int, before: Tensor | None) -> Tensor:
        """Return `(n, levels)` logits of a place."""
        r, c = divmod(place, self.grid[1])
        last = torch.zeros_like(memory["row"][:, :, :, 0]) if before is None else self.embed(before)[:, :, None]
        if before is not None:  # in the row of the place before it
            memory["row"][:, :, :, c - 1] = last
        if c == 0:
            self._next_row(memory, r)
            last = torch.zeros_like(last)
        left = last[:, :, :, None] + self.where[1, :, r, c, None, None]
        for i, layer in enumerate(self.layers):
            window = torch.cat([memory["places"][i], left], 3)
            left = layer.look_left(window, memory["told"][i][:, :, :, c : c + 1])  # type: ignore[operator]
            memory["places"][i] = window[:, :, :, 1:]
        return self.out(left)[:, :, 0, 0]

    def _next_row(self, memory: dict[str, Any], r: int) -> None:
        """Let the stack that looks up see the row that is complete."""
        above = memory["row"] + self.where[0, :, r, None]
        memory["told"] = []
        for i, layer in enumerate(self.layers):
            window = torch.cat([memory["rows"][i], above], 2)
            above, told = layer.look_up(window, memory["h"])  # type: ignore[operator]
            memory["rows"][i] = window[:, :, 1:]
            memory["told"].append(told)
        empty = torch.zeros(len(above), above.shape[1], 1, RANGE - 1)
        memory["places"] = [empty for _ in self.layers]


class _Gated(nn.Module):
    """One layer of both stacks; windows reach back `RANGE` - 1 rows or columns beyond what is returned."""

    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(width, 2 * width, RANGE, padding=(0, RANGE // 2))
        self.left = nn.Conv2d(width, 2 * width, (1, RANGE))
        self.link = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.label = nn.Linear(context, 2 * width, bias=False) if context else None

    def look_up(self, window: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.up(window)
        if self.label is not None:
            x = x + self.label(h)[:, :, None, None]
        return window[:, :, RANGE - 1 :] + _gate(x), self.link(x)

    def look_left(self, window: Tensor, told: Tensor) -> Tensor:
        return window[:, :, :, RANGE - 1 :] + self.out(_gate(self.left(window) + told))


class Transformer(Autoregression):
    """A causal transformer over a sequence.

    Arguments:
        places: Symbols of a sequence.
        levels: Different symbols.
        context: Numbers in h; 0 for none.
        width: Features of a place.
        layers: How many blocks of attention and perceptron.

    References:
        Attention Is All You Need (Vaswani et al., 2017), https://arxiv.org/abs/1706.03762

    Example:
        >>> net = Transformer(6, levels=4, width=8, layers=2)
        >>> z, _ = net.draw(5, torch.Generator().manual_seed(0))
        >>> tuple(z.shape), tuple(net.log_prob(z).shape)
        ((5, 6), (5,))
    """

    def __init__(self, places: int, levels: int, context: int = 0, width: int = 128, layers: int = 3) -> None:
        super().__init__(places, levels, context)
        self.embed = nn.Embedding(levels, width)
        self.where = nn.Parameter(0.1 * torch.randn(places, width))  # at place 0 it is all that is seen
        self.label = nn.Linear(context, width, bias=False) if context else None
        self.layers = nn.ModuleList(_Block(width) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), _faint(nn.Linear(width, levels)))
        nn.init.normal_(self.embed.weight, std=0.3)

    def forward(self, z: Tensor, h: Tensor | None = None) -> Tensor:
        """Return `(n, places, levels)` logits."""
        x = F.pad(self.embed(z[:, :-1]), (0, 0, 1, 0)) + self.where
        if self.label is not None:
            x = x + self.label(h)[:, None]
        for layer in self.layers:
            x = layer(x)
        return self.out(x)

    def begin(self, n: int, h: Tensor | None) -> dict[str, Any]:
        """Return an empty memory: the keys and values of every block."""
        label = self.where.new_zeros(n, 1) if self.label is None else self.label(h)
        return {"label": label, "past": [None for _ in self.layers]}

    def step(self, memory: dict[str, Any], place: int, before: Tensor | None) -> Tensor:
        """Return `(n, levels)` logits of a place."""
        x = memory["label"] + self.where[place]
        x = (x if before is None else x + self.embed(before))[:, None]
        for i, layer in enumerate(self.layers):
            x, memory["past"][i] = layer.step(x, memory["past"][i])  # type: ignore[operator]
        return self.out(x)[:, 0]


class _Block(nn.Module):
    """Attention to what stands before, and a perceptron, each added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // HEAD_SIZE) if width % max(1, width // HEAD_SIZE) == 0 else 1
        self.norm = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width, bias=False)  # one of the keys would change nothing
        self.join = nn.Linear(width, width)
        self.think = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def _heads(self, x: Tensor) -> list[Tensor]:
        """Return query, key and value, `(n, heads, places, features)` each."""
        parts = self.attend(self.norm(x)).chunk(3, 2)
        return [part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts]

    def _add(self, x: Tensor, found: Tensor) -> Tensor:
        x = x + self.join(found.transpose(1, 2).flatten(2))
        return x + self.think(x)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._heads(x)
        return self._add(x, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def step(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the features of one more place `(n, 1, width)`, and what to remember."""
        query, key, value = self._heads(x)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        return self._add(x, F.scaled_dot_product_attention(query, key, value)), (key, value)


def _gate(x: Tensor) -> Tensor:
    a, b = x.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


def _faint(layer: Any) -> Any:
    """Return a last layer that begins near 0, where all symbols are equally likely."""
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)
    return layer
