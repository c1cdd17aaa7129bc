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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

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
    """

    x: Tensor
    y: Tensor | None = None
    mask: Tensor | None = None
    log_det: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Code:
        def pick(t: Tensor | None) -> Tensor | None:
            return None if t is None else t[rows]

        return Code(self.x[rows], pick(self.y), pick(self.mask), pick(self.log_det))

    def to(self, device: torch.device | str) -> Code:
        """Return the code on another device."""

        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(device)

        return Code(self.x.to(device), move(self.y), move(self.mask), move(self.log_det))


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
    def _groups(self) -> dict[str, _Group]:
        return {kind: _Group(self, kind) for kind in ("real", "ordered", "binary", "category") if self.columns(kind)}

    @cached_property
    def head_size(self) -> int:
        """Numbers per record that `head` takes: 2 a real or ordered value, 1 a binary one, `levels` a category."""
        return sum(g.params for g in self._groups.values())

    @cached_property
    def embed_size(self) -> int:
        """Width of `embed`: 1 per real, ordered or binary value, `levels` per category."""
        return sum(g.width for g in self._groups.values())

    def head(self, params: Tensor) -> Head:
        """Return the observation distribution for `params` of shape `(n, head_size)` (more axes are flattened)."""
        return Head(self, params.flatten(1))

    def embed(self, x: Tensor) -> Tensor:
        """Map codes `(n, size)` to what nets see, `(n, embed_size)` float32: numbers about unit size, categories one-hot.

        Absent and unknown numbers become 0, unknown categories a zero vector.
        """
        parts = []
        for kind, g in self._groups.items():
            v = g.pick(x)
            if kind == "category":
                for j, levels in enumerate(g.levels):
                    known = torch.nan_to_num(v[:, j].float(), nan=-1.0).long()
                    parts.append((known[:, None] == torch.arange(levels, device=x.device)).float())
            elif kind == "ordered":
                loc, scale = g.affine(x.device)
                parts.append(torch.nan_to_num((v.float() - loc) / scale))
            else:
                parts.append(torch.nan_to_num(v.float()))
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
        raw = raw.flatten(1)
        parts, start = [], 0
        for kind, g in self._groups.items():
            part = raw[:, start : start + g.width]
            if kind == "category":
                part = part + _gumbel(noise[:, start : start + g.width]) if noise is not None else part
                part = torch.cat([torch.softmax(p / tau, 1) for p in part.split(g.levels, 1)], 1)
            elif kind == "binary":
                part = torch.sigmoid(part)
            elif kind == "ordered":
                part = g.squash(part)
            parts.append(part)
            start += g.width
        out = torch.cat(parts, 1)
        for value, gate in self._embedded_gates:
            out = torch.cat(
                [out[:, :value], out[:, value : value + 1] * out[:, gate : gate + 1], out[:, value + 1 :]], 1
            )
        return out

    def harden(self, embedded: Tensor) -> Tensor:
        """Map the embedding `(n, embed_size)` back to a code `(n, size)`: argmax, rounding, NaN where a gate is shut."""
        x = torch.empty(len(embedded), self.size, dtype=torch.float64, device=embedded.device)
        start = 0
        for kind, g in self._groups.items():
            part = embedded[:, start : start + g.width].double()
            start += g.width
            if kind == "category":
                part = torch.stack([p.argmax(1) for p in part.split(g.levels, 1)], 1).double()
            elif kind == "ordered":
                part = g.to_lattice(part)
            elif kind == "binary":
                part = (part > 0.5).double()
            x[:, g.columns] = part
        return self.shut_gates(x)

    def shut_gates(self, x: Tensor) -> Tensor:
        """Set gated values to NaN where their gate says that no value is present (in place); return `x`."""
        for columns, gate in self.gates:
            x[:, columns] = x[:, columns].masked_fill((x[:, gate] != 0)[:, None], math.nan)
        return x

    @cached_property
    def _embedded_gates(self) -> list[tuple[int, int]]:
        place, start = {}, 0
        for g in self._groups.values():
            widths = g.levels if g.kind == "category" else [1] * len(g.columns)
            for column, width in zip(g.columns, widths, strict=True):
                place[column], start = start, start + width
        return [(place[j], place[gate]) for s, gate in self.gates for j in range(s.start, s.stop)]


class _Group:
    """All columns of one kind, handled together so that an image or a wide table is one tensor operation."""

    def __init__(self, layout: Layout, kind: Kind) -> None:
        self.kind = kind
        self.columns = layout.columns(kind)
        fields = [f for f, _ in layout.slices() if f.kind == kind]
        repeated = [f for f in fields for _ in range(f.size)]
        self.levels = [f.levels for f in repeated]
        self.width = sum(self.levels) if kind == "category" else len(self.columns)
        self.params = self.width * (2 if kind in ("real", "ordered") else 1)
        self._all = self.columns == list(range(layout.size))
        self._gate = {j: gate for s, gate in layout.gates for j in range(s.start, s.stop)}
        self.gated = [self._gate.get(j, -1) for j in self.columns]
        self._fields = repeated
        self._cache: dict[Any, Any] = {}

    def pick(self, x: Tensor) -> Tensor:
        if self._all:
            return x
        key = ("columns", x.device)
        if key not in self._cache:
            self._cache[key] = torch.tensor(self.columns, device=x.device)
        return x.index_select(1, self._cache[key])

    def _const(self, name: str, values: list[float], device: torch.device) -> Tensor:
        if (name, device) not in self._cache:
            same = len(set(values)) == 1  # an image: keep a scalar, which is faster than a row
            self._cache[name, device] = torch.tensor(values[0] if same else values, dtype=torch.float32, device=device)
        return self._cache[name, device]

    def affine(self, device: torch.device) -> tuple[Tensor, Tensor]:
        return (
            self._const("loc", [f.loc for f in self._fields], device),
            self._const("scale", [f.scale for f in self._fields], device),
        )

    def top(self, device: torch.device) -> Tensor:
        """Highest level; infinite on an open lattice."""
        return self._const("top", [f.levels - 1.0 if f.bounded else math.inf for f in self._fields], device)

    def bottom(self, device: torch.device) -> Tensor:
        return self._const("bottom", [0.0 if f.bounded else -math.inf for f in self._fields], device)

    def squash(self, raw: Tensor) -> Tensor:
        """Map raw numbers into the range of bounded lattices by tanh; leave those of open lattices as they are."""
        loc, scale = self.affine(raw.device)
        bounded = torch.isfinite(self.top(raw.device))
        # Finite stand-ins keep the unused branch free of infinities, whose gradients would be NaN.
        low = (self.bottom(raw.device).nan_to_num(neginf=0.0) - loc) / scale
        high = (self.top(raw.device).nan_to_num(posinf=1.0) - loc) / scale
        return torch.where(bounded, (low + high) / 2 + (high - low) / 2 * torch.tanh(raw), raw)

    def to_lattice(self, value: Tensor) -> Tensor:
        loc, scale = self.affine(value.device)
        levels = torch.round(value * scale + loc)
        return torch.minimum(torch.maximum(levels, self.bottom(value.device)), self.top(value.device))


def _gumbel(uniform: Tensor) -> Tensor:
    return -torch.log(-torch.log(uniform.clamp(1e-10, 1 - 1e-7)))


_LOG_SIGMA = (-7.0, 5.0)


class Head:
    r"""The observation distribution \(p(x \mid \theta)\) of a layout: independent factors, one per value, chosen by kind.

    | kind | factor | parameters |
    |---|---|---|
    | real | \(N(x; \mu, \sigma^2)\) | \(\mu, \log\sigma\) |
    | ordered | \(\sigma((k + \frac12 - \mu)/s) - \sigma((k - \frac12 - \mu)/s)\), in units of the field's scale | \(\mu, \log s\) |
    | binary | \(p^x (1-p)^{1-x}\) | logit |
    | category | softmax | logits |

    Arguments:
        layout: What the columns mean.
        params: `(n, layout.head_size)`, grouped by kind in the order real, ordered, binary, category.

    References:
        PixelCNN++ (Salimans et al., 2017; the discretised logistic), https://arxiv.org/abs/1701.05517
    """

    def __init__(self, layout: Layout, params: Tensor) -> None:
        self.layout = layout
        sizes = [g.params for g in layout._groups.values()]
        self._parts = dict(zip(layout._groups, params.split(sizes, 1), strict=True))

    def _loc_log_scale(self, kind: str) -> tuple[Tensor, Tensor]:
        loc, log_scale = self._parts[kind].float().chunk(2, 1)
        return loc, log_scale.clamp(*_LOG_SIGMA)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return `(n,)` log probabilities in nats of codes `(n, size)`; factors of absent or unknown (NaN) values are left out."""
        total = torch.zeros(len(x), device=x.device)
        for kind, g in self.layout._groups.items():
            v = g.pick(x)
            if v.is_floating_point():
                present = ~torch.isnan(v)
                safe = torch.nan_to_num(v)
                terms = self._factors(kind, g, safe) * (present if kind != "category" else 1)
                if kind == "category":
                    terms = terms * present
                total = total + terms.sum(1)
            else:
                total = total + self._factors(kind, g, v).sum(1)
        return total

    def _factors(self, kind: str, g: _Group, v: Tensor) -> Tensor:
        if kind == "real":
            loc, log_scale = self._loc_log_scale(kind)
            z = (v.float() - loc) * torch.exp(-log_scale)
            return -0.5 * z.square() - log_scale - 0.5 * math.log(2 * math.pi)
        if kind == "ordered":
            return self._lattice(g, v.float())
        if kind == "binary":
            logits = self._parts[kind].float()
            return -F.softplus(torch.where(v > 0.5, -logits, logits))
        logs = [torch.log_softmax(p, 1) for p in self._parts[kind].float().split(g.levels, 1)]
        return torch.cat([log.gather(1, v[:, j : j + 1].long()) for j, log in enumerate(logs)], 1)

    def _lattice(self, g: _Group, level: Tensor) -> Tensor:
        # log(sig(a) - sig(b)) = log sig(a) + log sig(-b) + log(1 - exp(b - a)): exact where the difference underflows.
        loc, log_scale = self._loc_log_scale("ordered")
        centre, unit = g.affine(level.device)
        inverse = torch.exp(-log_scale)
        half = 0.5 / unit * inverse
        middle = ((level - centre) / unit - loc) * inverse
        below, above = F.logsigmoid(middle + half), F.logsigmoid(half - middle)
        lowest, highest = level <= g.bottom(level.device), level >= g.top(level.device)
        inner = below + above + torch.log(-torch.expm1(-2 * half))
        return torch.where(lowest, below, torch.where(highest, above, inner))

    def without_absent(self) -> Head:
        """Return the head given that no category is missing: what imputation draws from."""
        head = Head.__new__(Head)
        head.layout, head._parts = self.layout, dict(self._parts)
        if (logits := head._parts.get("category")) is not None:
            fields = [f for f in self.layout.fields if f.kind == "category"]
            absent = torch.cat([torch.arange(f.levels) == (-1 if f.absent is None else f.absent) for f in fields])
            head._parts["category"] = logits.masked_fill(absent.to(logits.device), -math.inf)
        return head

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """Draw codes `(n, size)`, float64."""
        return self._fill(lambda kind, g: self._draw(kind, g, generator))

    def mean(self) -> Tensor:
        """Return the most typical codes `(n, size)`: means of numbers (lattice ones rounded), modes of the others."""
        return self._fill(self._centre)

    def _fill(self, values: Any) -> Tensor:
        first = next(iter(self._parts.values()))
        x = torch.empty(len(first), self.layout.size, dtype=torch.float64, device=first.device)
        for kind, g in self.layout._groups.items():
            x[:, g.columns] = values(kind, g).double()
        return self.layout.shut_gates(x)

    def _centre(self, kind: str, g: _Group) -> Tensor:
        if kind == "binary":
            return (self._parts[kind] > 0).double()
        if kind == "category":
            return torch.stack([p.argmax(1) for p in self._parts[kind].split(g.levels, 1)], 1)
        loc = self._loc_log_scale(kind)[0]
        return loc if kind == "real" else g.to_lattice(loc)

    def _draw(self, kind: str, g: _Group, generator: torch.Generator | None) -> Tensor:
        part = self._parts[kind].float()
        if kind == "category":
            noise = _gumbel(torch.rand(part.shape, generator=generator, device=part.device))
            return torch.stack([p.argmax(1) for p in (part + noise).split(g.levels, 1)], 1)
        if kind == "binary":
            return (torch.rand(part.shape, generator=generator, device=part.device) < torch.sigmoid(part)).double()
        loc, log_scale = self._loc_log_scale(kind)
        if kind == "real":
            return loc + torch.exp(log_scale) * torch.randn(loc.shape, generator=generator, device=part.device)
        uniform = torch.rand(loc.shape, generator=generator, device=part.device).clamp(1e-7, 1 - 1e-7)
        return g.to_lattice(loc + torch.exp(log_scale) * (torch.log(uniform) - torch.log1p(-uniform)))


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
