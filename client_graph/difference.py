"""What differs between two clients, or between two moments of one: after this reply or after that."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from client_graph.client import ClientGraph

PRINTED = 10  # nodes in the printed form; `nodes` holds all


class Differing(NamedTuple):
    """One named number of both."""

    name: str
    here: float
    there: float

    @property
    def difference(self) -> float:
        """there - here."""
        return self.there - self.here


@dataclass(frozen=True, repr=False)
class Difference:
    """What differs, `there` minus `here`; what is the same is left out, the largest difference stands first."""

    nodes: tuple[Differing, ...]  # levels in [0, 10]
    buckets: tuple[Differing, ...]  # in [0, 1]
    axes: tuple[Differing, ...]  # in [-10, 10]
    loa: tuple[Differing, ...]  # in [-10, 10]
    measures: tuple[Differing, ...]  # coiling, alliance and attunement, in [0, 1]
    labels: dict[str, tuple[Any, Any]]  # phase, stage, stance, session, turn, arc: (here, there)

    def as_dict(self) -> dict[str, Any]:
        """Plain values: {"nodes": {name: (here, there)}, ..., "labels": {"phase": ("A", "B")}}."""
        numbers = ("nodes", "buckets", "axes", "loa", "measures")
        return {kind: {d.name: (d.here, d.there) for d in getattr(self, kind)} for kind in numbers} | {
            "labels": dict(self.labels)
        }

    def __bool__(self) -> bool:
        return any((self.nodes, self.buckets, self.axes, self.loa, self.measures, self.labels))

    def __repr__(self) -> str:
        return "\n".join(_told(self)) if self else "no difference"


def difference(here: "ClientGraph", there: "ClientGraph") -> Difference:
    """What differs. Raises ValueError where the two clients have other nodes or buckets."""
    _comparable("nodes", here.catalog.node_names, there.catalog.node_names)
    _comparable("buckets", here.catalog.bucket_names, there.catalog.bucket_names)
    labels = {name: (getattr(here, name), getattr(there, name)) for name in ("phase", "stage", "stance")}
    labels |= {
        name: (int(getattr(here.state, name)[here.index]), int(getattr(there.state, name)[there.index]))
        for name in ("session", "turn", "arc")
    }
    measures = [{name: getattr(one, name) for name in ("coiling", "alliance", "attunement")} for one in (here, there)]
    return Difference(
        nodes=_differing(here.levels, there.levels),
        buckets=_differing(here.buckets, there.buckets),
        axes=_differing(here.axes, there.axes),
        loa=_differing(here.loa, there.loa),
        measures=_differing(*measures),
        labels={name: pair for name, pair in labels.items() if pair[0] != pair[1]},
    )


def _comparable(what: str, here: tuple[str, ...], there: tuple[str, ...]) -> None:
    if set(here) != set(there):
        raise ValueError(
            f"the two clients have other {what}: only here {sorted(set(here) - set(there))}, "
            f"only there {sorted(set(there) - set(here))}; expected the same names"
        )


def _differing(here: Mapping[str, float], there: Mapping[str, float]) -> tuple[Differing, ...]:
    pairs = (Differing(name, value, there[name]) for name, value in here.items())
    return tuple(sorted((pair for pair in pairs if pair.difference != 0.0), key=lambda pair: -abs(pair.difference)))


def _told(found: Difference) -> Iterator[str]:
    for name, (here, there) in found.labels.items():
        yield f"{name}: {here} here, {there} there"
    yield f"{'':<30}{'here':>8}{'there':>9}{'difference':>12}"
    for kind in ("measures", "nodes", "buckets", "axes", "loa"):
        pairs = getattr(found, kind)
        if not pairs:
            continue
        yield kind
        yield from (f"  {p.name:<28}{p.here:>8.3f}{p.there:>9.3f}{p.difference:>+12.4f}" for p in pairs[:PRINTED])
        if len(pairs) > PRINTED:
            yield f"  and {len(pairs) - PRINTED} more, each by less than {abs(pairs[PRINTED - 1].difference):.4f}"
