"""Bayesian networks in the Bayesian Interchange Format (BIF 0.15), read and written.

```text
network sprinkler { }
variable rain { type discrete [ 2 ] { yes, no }; }
variable grass { type discrete [ 2 ] { wet, dry }; }
probability ( rain ) { table 0.2, 0.8; }
probability ( grass | rain ) { (yes) 0.9, 0.1; default 0.3, 0.7; }
```

Names are text and stay text, whatever they look like: `None`, `TRUE`, `007`. Names with spaces or signs stand in double quotes.
Comments (`//` and `/* */`) and properties are passed over; commas and bars between names are optional, as the format has it. In a
`table` of a variable with parents the variable's own states change slowest and the last parent's fastest. A file may come from
anywhere: it is read once from front to back, its tables have bounded sizes, and what is wrong is told with its line.

References:
    The Interchange Format for Bayesian Networks (Cozman, 1998), http://www.cs.cmu.edu/~fgcozman/Research/InterchangeFormat/
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import Problem, did_you_mean
from ..store import write_bytes
from ._graphs import cycle
from ._words import ROUNDED, Words, text_of

MOST_VARIABLES = 2**14
MOST_CELLS = 2**20  # probabilities of one table
MOST_CELLS_IN_ALL = 2**23

_PLAIN = re.compile(r"[A-Za-z0-9_.+-]+")


@dataclass(frozen=True)
class Network:
    """A Bayesian network of discrete variables.

    Arguments:
        names: Names of the variables.
        states: Names of every variable's states.
        parents: Positions of every variable's parents.
        tables: Probabilities of every variable given its parents, of shape `(*sizes of the parents, size of the variable)`.
    """

    names: list[str]
    states: list[list[str]]
    parents: list[tuple[int, ...]]
    tables: list[np.ndarray]


def read(path: str | os.PathLike[str]) -> Network:
    """Read a BIF file, plain or gzipped; raise `Problem` with file and line where it is malformed."""
    return _Parser(text_of(Path(path)), str(path)).network()


def write(path: str | os.PathLike[str], network: Network) -> None:
    """Write a BIF file that `read` gives back exactly; raise `Problem` where a name cannot be written."""
    lines = ["network genlearn {", "}"]
    for name, states in zip(network.names, network.states, strict=True):
        listed = ", ".join(_quoted(s) for s in states)
        lines += [f"variable {_quoted(name)} {{", f"  type discrete [ {len(states)} ] {{ {listed} }};", "}"]
    for i, (parents, table) in enumerate(zip(network.parents, network.tables, strict=True)):
        given = f" | {', '.join(_quoted(network.names[p]) for p in parents)}" if parents else ""
        lines.append(f"probability ( {_quoted(network.names[i])}{given} ) {{")
        rows = np.asarray(table, dtype=np.float64).reshape(-1, len(network.states[i])).tolist()
        for place, row in zip(np.ndindex(*(len(network.states[p]) for p in parents)), rows, strict=True):
            key = ", ".join(_quoted(network.states[p][k]) for p, k in zip(parents, place, strict=True))
            lines.append(f"  {f'({key})' if parents else 'table'} {', '.join(map(repr, row))};")
        lines.append("}")
    try:
        write_bytes(Path(path), ("\n".join(lines) + "\n").encode())
    except OSError as e:
        raise Problem(f"{path} cannot be written ({e.strerror}). Give another place.") from None


def _quoted(name: str) -> str:
    if _PLAIN.fullmatch(name):
        return name
    if '"' in name or "\n" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise Problem(f"BIF has no way to write the name {name!r}. Rename it without quotes and line breaks.")
    return f'"{name}"'


class _Parser(Words):
    """What the words of a file say."""

    def __init__(self, text: str, path: str) -> None:
        super().__init__(text, path)
        self.place: dict[str, int] = {}
        self.states: list[dict[str, int]] = []
        self.parents: dict[int, tuple[int, ...]] = {}
        self.tables: dict[int, np.ndarray] = {}
        self.cells = 0

    def network(self) -> Network:
        self.take("network")
        self.name("the network's name")
        self.take("{")
        self.skip("}")
        while self.seen is not None:
            token = self.take()
            if token.text == "variable":
                self.variable()
            elif token.text == "probability":
                self.table()
            else:
                self.fail(f'"variable" or "probability" should stand where {token.text!r} stands.')
        names = list(self.place)
        for i, name in enumerate(names):
            if i not in self.tables:
                self.fail(f"variable {name!r} has no probabilities. Add a probability block.")
        parents = [self.parents[i] for i in range(len(names))]
        if found := cycle(parents):
            way = " -> ".join(repr(names[i]) for i in found)
            raise Problem(f"{self.path}: the network has a cycle, {way}. Take one of these edges out.")
        return Network(names, [list(s) for s in self.states], parents, [self.tables[i] for i in range(len(names))])

    def variable(self) -> None:
        name = self.name("a variable's name")
        if name in self.place:
            self.fail(f"variable {name!r} is declared twice.")
        if len(self.place) >= MOST_VARIABLES:
            self.fail(f"a network may have {MOST_VARIABLES:,} variables.")
        self.take("{")
        states: dict[str, int] = {}
        while (token := self.take()).text != "}":
            if token.text == "property":
                self.skip(";")
            elif token.text == "type":
                states = self.type(name)
            else:
                self.fail(f'"type" or "property" should stand where {token.text!r} stands.')
        if not states:
            self.fail(f"variable {name!r} has no states. Add: type discrete [ 2 ] {{ yes, no }};")
        self.place[name] = len(self.states)
        self.states.append(states)

    def type(self, name: str) -> dict[str, int]:
        kind = self.name("the word discrete")
        if kind != "discrete":
            self.fail(f"variable {name!r} is {kind!r}; only discrete variables can be read.")
        self.take("[")
        said = self.name("the number of states")
        self.take("]")
        self.take("{")
        found = self.names("}", "the name of a state")
        self.take(";")
        states = {state: k for k, state in enumerate(found)}
        if len(states) < len(found):
            twice = next(s for k, s in enumerate(found) if states[s] != k)
            self.fail(f"variable {name!r} has the state {twice!r} twice.")
        if said != str(len(found)):
            self.fail(
                f"variable {name!r} should have {said} states and has {len(found)}. Names with spaces need quotes."
            )
        return states

    def table(self) -> None:
        self.take("(")
        named = self.names(")", "the name of a variable")
        begun = self.line
        for name in named:
            if name not in self.place:
                self.fail(f"no variable {name!r} is declared above.{did_you_mean(name, self.place)}")
        if not named or len(set(named)) < len(named):
            self.fail("a probability block names one variable, then its parents, each once.")
        child, *parents = (self.place[name] for name in named)
        if child in self.tables:
            self.fail(f"variable {named[0]!r} has two probability blocks.")
        sizes, r = [len(self.states[p]) for p in parents], len(self.states[child])
        q = math.prod(sizes)
        self.cells += q * r
        if q * r > MOST_CELLS or self.cells > MOST_CELLS_IN_ALL:
            self.fail(
                f"the table of {named[0]!r} has {q * r:,} entries: too many (at most {MOST_CELLS:,} in one table)."
            )
        rows = np.full((q, r), np.nan)
        rest: np.ndarray | None = None
        self.take("{")
        while (token := self.take()).text != "}" or token.name:
            if token.text == "(" and not token.name:
                place = self.row(named, parents)
                if not np.isnan(rows[place, 0]):
                    self.fail("this row stands twice.")
                rows[place] = self.numbers(r)
            elif token.text == "table":
                rows = self.numbers(q * r).reshape(r, q).T.copy()
            elif token.text == "default":
                rest = self.numbers(r)
            elif token.text == "property":
                self.skip(";")
            else:
                self.fail(f'"table", "default" or a row should stand where {token.text!r} stands.')
        self.parents[child] = tuple(parents)
        self.tables[child] = self.checked(rows, rest, named, parents, begun).reshape(*sizes, r)

    def row(self, named: list[str], parents: list[int]) -> int:
        """Return which row the states in parentheses stand for."""
        found = self.names(")", "the name of a state")
        if len(found) != len(parents):
            self.fail(f"a row of {named[0]!r} names {len(parents)} states, one of each parent, not {len(found)}.")
        place = 0
        for name, p, state in zip(named[1:], parents, found, strict=True):
            if state not in self.states[p]:
                self.fail(f"variable {name!r} has no state {state!r}.{did_you_mean(state, self.states[p])}")
            place = place * len(self.states[p]) + self.states[p][state]
        return place

    def checked(
        self, rows: np.ndarray, rest: np.ndarray | None, named: list[str], parents: list[int], line: int
    ) -> np.ndarray:
        """Return rows that are all there and add up to one."""
        absent = np.isnan(rows[:, 0])
        if absent.any() and rest is not None:
            rows[absent] = rest
            absent[:] = False
        off = np.abs(rows.sum(1) - 1)
        wrong = absent | ~(off <= ROUNDED)
        if wrong.any():
            first = int(np.argmax(wrong))
            where = np.unravel_index(first, [len(self.states[p]) for p in parents]) if parents else ()
            states = ", ".join(repr(list(self.states[p])[int(k)]) for p, k in zip(parents, where, strict=True))
            at = f"{named[0]!r}, row ({states})," if parents else f"{named[0]!r}"
            if absent[first]:
                self.fail(f"{at} has no probabilities. Add the row or a default.", line)
            self.fail(f"the probabilities of {at} add up to {rows[first].sum():.6g} and not to 1.", line)
        scale = np.where(off > 1e-12, rows.sum(1), 1.0)  # rounded rows; exact ones stay as they are
        return rows / scale[:, None]
