"""A session as text for a terminal."""

from client_graph.client import ClientGraph
from client_graph.names import PHASE_NAMES, PHASES, STAGE_NAMES
from client_graph.personhood import Person
from judges.protocol import Turn

_WIDTH = 24


def bar(share: float, width: int = _WIDTH) -> str:
    """A bar for a number in [0, 1]."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "·" * (width - filled)


def dashboard(view: ClientGraph, person: Person, history: tuple[Turn, ...], words: str) -> str:
    """Who, where in treatment, how full the reservoirs are, and the last exchange. A simulator, not for clinical use."""
    phases = " → ".join(
        f"[{name}]" if letter == view.phase else name for letter, name in zip(PHASES, PHASE_NAMES, strict=True)
    )
    lines = [
        "Icarus · simulated client · research software, not for clinical use",
        f"{person.name} · {person.concern.replace('_', ' ')} · {person.strategy} · stage {view.stage} "
        f"{STAGE_NAMES[view.stage - 1]} · stance {view.stance.replace('_', ' ')}",
        phases,
        f"{'coiling':<16}{bar(view.coiling)} {view.coiling:.3f}",
        f"{'alliance':<16}{bar(view.alliance)} {view.alliance:.3f}",
        f"{'attunement':<16}{bar(view.attunement)} {view.attunement:.3f}",
        *(f"{name:<16}{bar(level)} {level:.2f}" for name, level in view.buckets.items()),
        "  ".join(f"{name} {value:+.1f}" for name, value in view.axes.items()),
    ]
    if history:
        lines += [f"client:    {history[-1].client}", f"therapist: {history[-1].therapist}"]
    return "\n".join([*lines, f"client:    {words}"])
