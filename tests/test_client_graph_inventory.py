"""What check-catalog prints of a catalog: counts, then where it is loosest; and problems by file and line."""

from dataclasses import replace
from pathlib import Path

import pytest

from client_graph.catalog import Catalog
from client_graph.inventory import by_file, inventory
from client_graph.testing.plain import edge, node, plain_catalog, row, sensitivity

NAMES = ("bond", "calm", "hope", "shame", "trust", "worth", "zest")
DIRECTION = {"shame": "decrease", "calm": "bipolar"}
# One word, longer than a line: it is not broken, since nobody could copy it then.
FOLDER = Path("tables-of-my-own" * 8)


def a_catalog() -> Catalog:
    catalog = plain_catalog(
        [node(n, DIRECTION.get(n, "increase"), domain="feeling" if n in DIRECTION else "self") for n in NAMES],
        domains=[
            row("domains", name=name, meaning="a part of a person") for name in ("self", "feeling", "nobody_lives_here")
        ],
        edges=[
            edge("bond", "reinforcing", "calm", 0.5),
            edge("calm", "paired", "hope", 0.25),
            edge("shame", "suppressive", "hope", 0.125),
        ],
        sensitivities=[
            *(sensitivity(name, "attunement", high=0.02, low=-0.05) for name in NAMES if name != "shame"),
            sensitivity("shame", "pacing", high=-0.02),
            sensitivity("bond", "pacing"),
            sensitivity("calm", "safety", low=-0.01),
        ],
        strategies=[
            row("strategies", name=name, family=name[0], coherence=coherence, voice="Plain and open.")
            for name, coherence in (("B3", "balanced"), ("A1", "odd"), ("C1", "odd"))
        ],
        voice=[
            row("voice", stage="any", phase="A", coherence="odd", moment=moment, concern="any", line=line)
            for moment, line in (("moved", "Yes."), ("ordinary", "Fine."), ("moved", "Thank you."))
        ],
        bucket_nodes=[row("bucket_nodes", bucket="ease", node="bond", coefficient=1.0)],
    )
    return replace(catalog, folder=FOLDER)


def test_a_small_catalogs_inventory_in_full() -> None:
    """A row of zeros moves nothing, and a paired edge reaches and leads from both its ends."""
    assert inventory(a_catalog()).splitlines() == [
        "tables                27 with 91 facts, in",
        f"                      {FOLDER}",
        "nodes                 7: self 5, feeling 2, nobody_lives_here 0; least nobody_lives_here, most self",
        "directions            7: increase 5, decrease 1, bipolar 1; least decrease, most increase",
        "sensitivities         9: attunement 6, pacing 2, safety 1, non_reactivity 0, validation 0, boundaries 0, repair 0,",
        "                      clinical_wisdom 0, thoughtfulness 0, parallel_thinking 0, tenderness 0, artfulness 0; least",
        "                      non_reactivity, most attunement",
        "edges                 3: reinforcing 1, protective 0, compensatory 0, suppressive 1, prerequisite 0, paired 1, gated 0,",
        "                      paradoxical 0; least protective, most reinforcing",
        "buckets               2: maladaptive 1, adaptive 1",
        "bucket facts          0 from dimensions, 1 to nodes",
        "levels of adaptation  7 dimensions, 0 weights, 1 thresholds",
        "phases and stages     24 thresholds, 0 criteria, 16 cells",
        "strategies            3: odd 2, even 0, balanced 1; least even, most odd",
        "concerns              1 concerns, 0 shifts",
        "strengths             0 strengths, 0 leanings on nodes",
        "voice lines           3: moved 2, ordinary 1",
        "least reached         bond, shame, trust, worth, zest: 0 edges",
        "least reaching        trust, worth, zest: 0 edges",
        "least moved           bond, hope, shame, trust, worth and 1 more: 1 dimension",
        "faintest edge         shame suppressive hope: weight 0.125",
    ]


def test_without_edges_none_is_the_faintest() -> None:
    assert inventory(plain_catalog([node("bond")])).splitlines()[-1] == "faintest edge         no edge"


@pytest.mark.parametrize(
    ("strange", "told"),
    [
        (["edge"], "edge.csv"),
        (["node", "Edges", "edges_of_old", "n", "m"], "Edges.csv, edges_of_old.csv, m.csv, n.csv, node.csv"),
        (list("fedcba"), "a.csv, b.csv, c.csv, d.csv, e.csv and 1 more"),
    ],
)
def test_files_that_are_no_tables_are_named(tmp_path: Path, strange: list[str], told: str) -> None:
    for name in (*strange, "edges", "nodes"):
        (tmp_path / f"{name}.csv").touch()
    (tmp_path / "notes.txt").touch()
    catalog = replace(a_catalog(), folder=tmp_path)
    assert inventory(catalog).splitlines()[-1] == f"not read              {told}: no table has such a name"


def test_problems_stand_under_their_file_by_line() -> None:
    """Those of a whole file, and of none, come first."""
    folder = Path("/some/where.csv.d")
    problems = [
        f"{folder}/edges.csv:12: b", f"{folder}/nodes.csv: c", f"{folder}/edges.csv:3: a: d.csv:1: e", "no folder",
        "edges.csv: missing", "loa.csv:2: two\nlines", f"{folder}/edges.csv:12: a",
    ]  # fmt: skip
    assert by_file(problems, folder).split("\n") == [
        "  no folder", "edges.csv", "  missing", "  line 3: a: d.csv:1: e", "  line 12: a", "  line 12: b", "loa.csv",
        "  line 2: two", "lines", "nodes.csv", "  c",
    ]  # fmt: skip
    assert by_file([], folder) == ""
