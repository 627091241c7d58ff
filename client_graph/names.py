"""The names and orders that every array in the project follows."""

from pathlib import Path

# Paper lines 406-407; the order is DESIGN's, and every (..., 12) array of scores follows it.
DIMENSIONS = (
    "attunement",
    "pacing",
    "safety",
    "non_reactivity",
    "validation",
    "boundaries",
    "repair",
    "clinical_wisdom",
    "thoughtfulness",
    "parallel_thinking",
    "tenderness",
    "artfulness",
)

DOMAINS = (
    "attachment_relational",
    "affect_regulation",
    "self_structure",
    "defense_organization",
    "trauma_processing",
    "cognitive_flexibility",
    "existential_meaning",
    "somatic_awareness",
    "therapeutic_alliance",
    "interpersonal_style",
    "motivation",
    "coping_repertoire",
    "personality_organization",
    "cognitive_style",
    "adaptive_humor",
    "session_engagement",
)

DIRECTIONS = ("increase", "decrease", "bipolar")

EDGE_TYPES = (
    "reinforcing",
    "protective",
    "compensatory",
    "suppressive",
    "prerequisite",
    "paired",
    "gated",
    "paradoxical",
)

PHASES = ("A", "B", "C", "D")
PHASE_NAMES = ("Defended", "Opening", "Core Access", "Integration")
STAGES = (1, 2, 3, 4)
STAGE_NAMES = ("Foundation", "Working", "Integration", "Termination")
STANCES = ("rapport_building", "personhood_assemblage", "intervention")
AXES = ("rigidity_porosity", "self_esteem", "cherishment_estrangement")
# What shows of the client in a turn (paper 413), in the order of every (..., 5) array of signals.
SIGNALS = ("openness", "disclosure", "resistance", "defensiveness", "overwhelm")
LOA_DIMENSIONS = (
    "self_reflection",
    "relational_capacity",
    "affect_expression",
    "self_compassion",
    "reality_testing",
    "impulse_regulation",
    "mentalization",
)

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
