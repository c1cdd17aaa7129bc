"""Networks of the interchange format as learned state, and back: columns of text out of variables, names out of levels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from ..codecs.base import Codec
from ..codecs.levels import Levels
from ..codecs.part_level import LevelColumn
from ..codecs.table import TableCodec
from ..layout import Code
from . import _bif
from ._nodes import Node, Nodes


def codec_of(network: _bif.Network, takes: frozenset[str]) -> TableCodec:
    """Return the codec of a table whose columns are a network's variables, with its states as text."""
    parts = [
        LevelColumn(
            name, name, "object", Levels(tuple(states)), (), absent=False, binary=len(states) == 2, format=None,
            categories=None, ranked=False, none=False, common=0,
        )
        for name, states in zip(network.names, network.states, strict=True)
    ]  # fmt: skip
    spec = {"takes": sorted(takes), "fold": True, "target": None, "rows": 0, "options": {}, "notes": []}
    return TableCodec.from_json({**spec, "columns": [part.to_json() for part in parts]})


def state_of(network: _bif.Network, codec: Codec) -> tuple[list[list[int]], Tensor]:
    """Return parents and tables, end to end, of the variables that vary: the others are constants of the codec."""
    place = {name: j for j, name in enumerate(f.name for f in codec.layout.fields)}
    parents, tables = [], []
    for name, above, table in zip(network.names, network.parents, network.tables, strict=True):
        if name in place:
            parents.append([place[network.names[u]] for u in above if network.names[u] in place])
            tables.append(torch.from_numpy(table).double().flatten())
    return parents, torch.cat(tables)


def network_of(nodes: Nodes, parents: Sequence[Sequence[int]], tables: Sequence[Tensor], codec: Codec) -> _bif.Network:
    """Return what the interchange format holds: a variable for each node, a state for each level."""
    sizes = nodes.sizes
    return _bif.Network(
        list(nodes.names), [_states(nodes, node, codec) for node in nodes.nodes], [tuple(p) for p in parents],
        [t.view([*(sizes[u] for u in p), size]).numpy() for t, p, size in zip(tables, parents, sizes, strict=True)],
    )  # fmt: skip


def _states(nodes: Nodes, node: Node, codec: Codec) -> list[str]:
    """Return names of a node's levels: its bins as intervals, its categories as they are called; each name once."""
    names = list(node.labels) or [str(k) for k in range(node.size - node.bins)]
    if node.number is not None:
        ends = ["", *_in_data_units(nodes, node, codec), ""]
        names = [f"{a}..{b}" for a, b in itertools.pairwise(ends)] + names
    found: list[str] = []
    for name in names:
        clean = name.replace('"', "'")
        while clean in found:
            clean += "'"
        found.append(clean)
    return found


def _in_data_units(nodes: Nodes, node: Node, codec: Codec) -> list[str]:
    """Return where the bins of a number meet, as a person writes it."""
    assert nodes.bins is not None
    assert node.number is not None
    cuts = nodes.bins.cuts[node.bin_index, : node.bins - 1]
    x = torch.zeros(len(cuts), nodes.layout.size, dtype=torch.float64)
    x[:, node.number] = nodes.bins.knots[node.bin_index, cuts]
    if codec.modality != "table" or not len(x):
        return [f"{v:g}" for v in x[:, node.number].tolist()]
    return [str(v) for v in codec.decode(Code(x)).x[node.name]]
