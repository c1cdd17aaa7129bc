r"""What a model sees: codes, the layout that says what they mean, and the observation distribution of a layout.

A **code** is a flat matrix, one row per record. Its **layout** names the columns: which are real numbers, which are levels
on an integer lattice, which are categories. From the layout alone follow

- the **head** \(p(x \mid \theta)\): a product of normal, discretised-logistic, Bernoulli and categorical factors;
- the **embedding** \(e(x)\) that puts records in front of a net (categories one-hot, numbers standardised);
- the **relaxation**, which turns a generator's raw output into the same space with gradients.

A real or ordered field may have a **gate**: a category field whose level 0 says "a value is present here"; every other level is
an atom (a repeated value) or "missing". The value is then NaN in the code, and its factor is left out of the density:
\(p(g, v) = p(g)\,p(v \mid g)^{[g = 0]}\), which sums and integrates to one over atoms and numbers together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from .groups import KINDS, Group
from .heads import Head

Kind = Literal["real", "ordered", "binary", "category", "token"]
Role = Literal["feature", "target"]


@dataclass(frozen=True)
class Field:
    """One named part of a code: a column of a table, or all values of an image.

    Arguments:
        name: The column's name, or what the values are ("pixels").
        kind: `real`, `ordered` (integer lattice), `binary` (0/1), `category` (0..levels-1) or `token`.
        shape: `()` for a column, `(channels, height, width)` for an image.
        levels: Number of levels of an ordered, binary or category field.
        role: `target` marks the label.
        gate: Name of the category field that must be 0 where this value is present.
        loc: Centre of an ordered field, in levels: nets see `(x - loc) / scale`.
        scale: Scale of an ordered field, in levels.
        bounded: Whether the edge levels of an ordered field absorb the tails (pixels) or the lattice is open (counts).
        absent: The category level that means "missing", if there is one.
        width: Lattice step in code units of a dequantised integer; 0 for a continuous number.
        labels: Printable names of the category levels.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...] = ()
    levels: int = 0
    role: Role = "feature"
    gate: str | None = None
    loc: float = 0.0
    scale: float = 1.0
    bounded: bool = True
    absent: int | None = None
    width: float = 0.0
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind == "ordered" and self.bounded and self.levels < 2:
            raise ValueError(f'field "{self.name}": a bounded lattice needs at least 2 levels, not {self.levels}')
        if not 0 < self.scale < math.inf:
            raise ValueError(f'field "{self.name}" needs a positive scale, not {self.scale}')
        if self.absent is not None and not 0 <= self.absent < self.levels:
            raise ValueError(
                f'field "{self.name}": the absent level must lie in 0..{self.levels - 1}, not {self.absent}'
            )

    @property
    def size(self) -> int:
        """How many columns of the code belong to this field."""
        return math.prod(self.shape)


@dataclass
class Code:
    """Records as a model sees them.

    Arguments:
        x: `(n, d)` matrix: float64 for tables, uint8 or float32 for images. NaN where a gated value is absent or unknown.
        y: `(n,)` int64 labels of the layout's target, -1 where unknown; None without a target.
        mask: `(n, d)` bool, True where the value is known; None if everything is.
        log_det: `(n,)` float64, what the codec's change of variables adds to the log density, in nats.
        chance: `(n, d)` uint8, where binary values are draws: each is 1 with probability chance / 255. Training by gradient steps
            draws them anew for every batch.
    """

    x: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    log_det: Tensor | None = None
    chance: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Code:
        def pick(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[rows]

        return Code(self.x[rows], pick(self.y), pick(self.mask), pick(self.log_det), pick(self.chance))

    def to(self, device: torch.device | str) -> Code:
        """Return the code on another device."""

        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(device)

        return Code(self.x.to(device), move(self.y), move(self.mask), move(self.log_det), move(self.chance))


@dataclass(frozen=True)
class Layout:
    r"""What the columns of a code mean.

    Arguments:
        fields: The parts of `x`, in column order.
        target: The label that travels in `y`, if models get it as a condition; None if there is none or it is a field.
        measure: Text that names the base measure of every score: Lebesgue, lattice, atoms, missing indicators, column by column.

    Example:
        >>> layout = Layout((Field("age", "ordered", levels=100, loc=40, scale=15), Field("sex", "category", levels=2)))
        >>> layout.size, layout.embed_size, layout.head_size
        (2, 3, 4)
    """

    fields: tuple[Field, ...]
    target: Field | None = None
    measure: str = ""

    def __post_init__(self) -> None:
        names = [f.name for f in self.fields]
        if len(set(names)) < len(names):
            raise ValueError("two fields of a layout have the same name")

    # -- shape -------------------------------------------------------------------------------------------------------
    @cached_property
    def size(self) -> int:
        """Number of columns of the code."""
        return sum(f.size for f in self.fields)

    @cached_property
    def image(self) -> tuple[int, int, int] | None:
        """`(channels, height, width)` if the code is one image, else None."""
        if len(self.fields) == 1 and len(self.fields[0].shape) == 3:
            c, h, w = self.fields[0].shape
            return c, h, w
        return None

    @cached_property
    def labels(self) -> int:
        """Number of labels of the target; 0 without one."""
        return self.target.levels if self.target else 0

    @property
    def measure_id(self) -> str:
        """Short hash of the measure: scores are ranked only where it agrees."""
        return hashlib.sha256(self.measure.encode()).hexdigest()[:8]

    def slices(self) -> Iterator[tuple[Field, slice]]:
        """Yield each field with its columns."""
        start = 0
        for f in self.fields:
            yield f, slice(start, start + f.size)
            start += f.size

    @cached_property
    def where(self) -> dict[str, slice]:
        """Columns by field name."""
        return {f.name: s for f, s in self.slices()}

    def columns(self, kind: Kind) -> list[int]:
        """Return the column numbers of one kind."""
        return [j for f, s in self.slices() if f.kind == kind for j in range(s.start, s.stop)]

    @cached_property
    def gates(self) -> list[tuple[slice, int]]:
        """`(columns, gate column)` of every gated field."""
        return [(s, self.where[f.gate].start) for f, s in self.slices() if f.gate]

    # -- storage -----------------------------------------------------------------------------------------------------
    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)

    @classmethod
    def from_json(cls, spec: dict[str, Any]) -> Layout:
        """Rebuild a layout from `to_json`."""

        def build(f: dict[str, Any]) -> Field:
            return Field(**{**f, "shape": tuple(f["shape"]), "labels": tuple(f["labels"])})

        target = build(spec["target"]) if spec["target"] else None
        return cls(tuple(build(f) for f in spec["fields"]), target, spec["measure"])

    def with_target_as_field(self) -> Layout:
        """Return the layout of `fold(code)`: the label is the last column."""
        if self.target is None:
            return self
        return replace(self, fields=(*self.fields, self.target), target=None)

    # -- what nets meet ----------------------------------------------------------------------------------------------
    @cached_property
    def groups(self) -> list[Group]:
        """The values by kind, in the order of the head's parameters."""
        found = []
        for kind, group in KINDS.items():
            if columns := self.columns(kind):  # type: ignore[arg-type]
                fields = [f for f in self.fields if f.kind == kind for _ in range(f.size)]
                found.append(group(columns, fields, alone=len(columns) == self.size))
        return found

    @cached_property
    def head_size(self) -> int:
        """Numbers per record that `head` takes: 2 a real or ordered value, 1 a binary one, `levels` a category."""
        return self.head_params()

    def head_params(self, mixtures: int = 1) -> int:
        """Return how many numbers per record `head` takes if ordered values are mixtures of so many logistics."""
        return sum(g.params for g in self.factors(mixtures))

    def factors(self, mixtures: int = 1) -> list[Group]:
        """Return `groups`, ordered values with mixtures of so many logistics."""
        if mixtures not in self._factors:
            self._factors[mixtures] = [g.mixed(mixtures) for g in self.groups]
        return self._factors[mixtures]

    @cached_property
    def _factors(self) -> dict[int, list[Group]]:
        return {}

    @cached_property
    def embed_size(self) -> int:
        """Width of `embed`: 1 per real, ordered or binary value, `levels` per category."""
        return sum(self._embed_sizes)

    @cached_property
    def _embed_sizes(self) -> list[int]:
        return [g.width for g in self.groups]

    def head(self, params: Tensor, mixtures: int = 1) -> Head:
        """Return the observation distribution for `params` of shape `(n, head_size)` (more axes are flattened).

        With several `mixtures`, `head_params(mixtures)` numbers per record say how ordered values are mixtures of so many logistics.
        """
        return Head(self, params.flatten(1), mixtures)

    def embed(self, x: Tensor) -> Tensor:
        """Map codes `(n, size)` to what nets see, `(n, embed_size)` float32: numbers about unit size, categories one-hot.

        Absent and unknown numbers become 0, unknown categories a zero vector.
        """
        parts = [g.embed(g.pick(x)) for g in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def relax(self, raw: Tensor, noise: Tensor | None = None, tau: float = 0.5) -> Tensor:
        r"""Map a generator's raw output `(n, embed_size)` into the space of `embed`, with gradients.

        Numbers pass (bounded ones through tanh), pixels that are binary through a sigmoid, categories through the Gumbel
        softmax \(\mathrm{softmax}((\ell + g) / \tau)\), and gated numbers are multiplied by the share of their gate's level 0.

        Arguments:
            raw: `(n, embed_size)`, more axes are flattened.
            noise: Uniform (0, 1) numbers of the same shape, for the categories; None relaxes without noise.
            tau: Temperature of the softmax.

        References:
            Categorical Reparameterization with Gumbel-Softmax (Jang et al., 2017), https://arxiv.org/abs/1611.01144
        """
        raws = raw.flatten(1).split(self._embed_sizes, 1)
        noises = [None] * len(raws) if noise is None else noise.split(self._embed_sizes, 1)
        parts = [g.relax(r, u, tau) for g, r, u in zip(self.groups, raws, noises, strict=True)]
        out = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        if not self.gates:
            return out
        # What stands at the place of its gate's level 0 is how open a number's gate is; numbers without a gate meet the last one.
        openness = torch.cat([out, torch.ones_like(out[:, :1])], 1)
        return out * openness.index_select(1, self._gate_places.to(out.device))

    @cached_property
    def _gate_places(self) -> Tensor:
        """For every embedded number the place of its gate's level 0, `embed_size` where there is no gate."""
        columns = [(j, width) for g in self.groups for j, width in zip(g.columns, g.widths, strict=True)]
        starts = dict(zip((j for j, _ in columns), accumulate((w for _, w in columns), initial=0), strict=False))
        gate = {j: gate for s, gate in self.gates for j in range(s.start, s.stop)}
        places = [starts[gate[j]] if j in gate else self.embed_size for j, width in columns for _ in range(width)]
        return torch.tensor(places)

    def harden(self, embedded: Tensor) -> Tensor:
        """Map the embedding `(n, embed_size)` back to a code `(n, size)`: argmax, rounding, NaN where a gate is shut."""
        parts = embedded.double().split(self._embed_sizes, 1)
        return self.assemble([g.harden(part) for g, part in zip(self.groups, parts, strict=True)])

    def assemble(self, values: Sequence[Tensor]) -> Tensor:
        """Put the values of every group into their columns: a code `(n, size)`, float64, NaN where a gate is shut."""
        if len(values) == 1:
            return values[0].double()
        x = torch.empty(len(values[0]), self.size, dtype=torch.float64, device=values[0].device)
        for group, value in zip(self.groups, values, strict=True):
            x[:, group.columns] = value.double()
        return self.shut_gates(x)

    def shut_gates(self, x: Tensor) -> Tensor:
        """Set gated values to NaN where their gate says that no value is present (in place); return `x`."""
        for columns, gate in self.gates:
            x[:, columns] = x[:, columns].masked_fill((x[:, gate] != 0)[:, None], math.nan)
        return x


def fold(code: Code) -> Code:
    """Append the label as the last column of `x` (NaN where unknown), for models that treat it like any other field."""
    if code.y is None:
        return code
    y = torch.where(code.y < 0, math.nan, code.y.to(torch.float64))[:, None]
    x = torch.cat([code.x.to(torch.float64), y], 1)
    mask = None if code.mask is None else torch.cat([code.mask, code.y[:, None] >= 0], 1)
    return Code(x, None, mask, code.log_det)


def unfold(code: Code) -> Code:
    """Undo `fold`: move the last column of `x` back into `y`."""
    y = torch.nan_to_num(code.x[:, -1], nan=-1.0).long()
    mask = None if code.mask is None else code.mask[:, :-1]
    return Code(code.x[:, :-1], y, mask, code.log_det)
