"""A calibration as tables: for a terminal (rich) and for a page (Markdown)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.table import Table as RichTable

from client_graph.names import DIMENSIONS
from judges.calibration.measures import Share, mean_off_diagonal
from judges.calibration.run import Calibration, agreements

ROUNDING = 1e-9  # points: the mean of equal numbers may differ from them by so much


@dataclass(frozen=True)
class Table:
    """Cells as text; the first column is a name. note: how to read it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """A heading, the note, the table."""
        lines = ["| " + " | ".join(row) + " |" for row in (self.columns, *self.rows)]
        lines.insert(1, "|---" + "|---:" * (len(self.columns) - 1) + "|")
        return "\n".join((f"### {self.title}\n", *([f"{self.note}\n"] if self.note else []), *lines)) + "\n"

    def rich(self) -> RichTable:
        """The same for a terminal of 80 columns."""
        table = RichTable(
            title=self.title,
            caption=self.note or None,
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title_justify="left",
            caption_justify="left",
            pad_edge=False,
        )
        for i, name in enumerate(self.columns):
            table.add_column(name, justify="right" if i else "left", no_wrap=not i)
        for row in self.rows:
            table.add_row(*row)
        return table


def tables(found: Sequence[Calibration]) -> list[Table]:
    """All judges side by side; then each by dimension; then how far they agree."""
    agreed = [_agreement(found)] if len(found) > 1 else []
    return [_overview(found), *agreed, *(table for one in found for table in (_by_dimension(one), _gaps(one)))]


def _overview(found: Sequence[Calibration]) -> Table:
    rows: tuple[tuple[str, list[str]], ...] = (
        ("pairs", [str(one.pairs) for one in found]),
        ("composite ranks it rightly", [_share(one.accuracy.composite) for one in found]),
        ("own dimension ranks it rightly", [_share(one.accuracy.own) for one in found]),
        ("own gap above the others' mean", [_share(one.discrimination.above_others) for one in found]),
        ("own gap among the three largest", [_share(one.discrimination.among_top) for one in found]),
        ("correlation between dimensions", [_number(mean_off_diagonal(one.correlation)) for one in found]),
        ("  between authored scores", [_authored(one) for one in found]),
        ("kind - harsh, points", [_number(float(one.persona_gap.mean())) for one in found]),
        ("same again, spread, points", [_spread(one.retest) for one in found]),
        ("other punctuation, spread", [_spread(one.punctuation) for one in found]),
        ("falls under another client", [_share(one.swap.falls) for one in found]),
        ("  by how many points", [f"{one.swap.mean_fall:.2f} (median {one.swap.median_fall:.2f})" for one in found]),
        ("points for e times the words", [_number(one.length.partial) for one in found]),
        ("  among better; worse", [f"{one.length.better:+.2f}; {one.length.worse:+.2f}" for one in found]),
        ("digit mass, least; mean", [_mass(one) for one in found]),
        ("left-out probable error", [_left_out(one) for one in found]),
        ("  stated error covers (half?)", [_covered(one) for one in found]),
        ("seconds a reply", [f"{one.seconds:.3f}" for one in found]),
        ("failures", [_count(one.failures) for one in found]),
    )  # fmt: skip
    return Table(
        "What is known of the judge" + "s" * (len(found) > 1),
        ("measure", *(one.judge for one in found)),
        tuple((name, *cells) for name, cells in rows),
        "In brackets the 95 % interval of Wilson. Held-out pairs: one client, a better and a worse reply.",
    )


def _by_dimension(one: Calibration) -> Table:
    return Table(
        f"By dimension: {one.judge}",
        ("dimension", "own", "95 %", "all", "gap", "others", "k - h", "again", "error"),
        tuple(_dimension_rows(one)),
        "own, all: pairs of this dimension ranked rightly by its score (95 % interval), by the composite. gap, "
        "others: points between better and worse in this dimension and in the other eleven. "
        "k - h: kind minus harsh. again: spread of repeats. error: median miss on left-out examples.",
    )


def _dimension_rows(one: Calibration) -> Iterator[tuple[str, ...]]:
    for d, name in enumerate(DIMENSIONS):
        low, high = one.accuracy.own_by[d].interval
        others = float(np.delete(one.gaps[d], d).mean())
        error = "-" if one.left_out is None else f"{one.left_out.probable_error[d]:.1f}"
        yield (
            name, _count(one.accuracy.own_by[d]), f"{100 * low:.0f}-{high:.0%}", _count(one.accuracy.composite_by[d]),
            f"{one.gaps[d, d]:+.1f}", f"{others:+.1f}", f"{one.persona_gap[d]:.1f}", f"{one.retest[d]:.2f}", error,
        )  # fmt: skip


def _gaps(one: Calibration) -> Table:
    return Table(
        f"Better minus worse, points: {one.judge}",
        ("pairs of", *(name[:3] for name in DIMENSIONS)),
        tuple((name, *(f"{gap:.1f}" for gap in one.gaps[d])) for d, name in enumerate(DIMENSIONS)),
        "A row: the pairs that differ in this dimension; a column: the score. A judge that tells dimensions apart has the "
        "largest number of each row on the diagonal.",
    )


def _agreement(found: Sequence[Calibration]) -> Table:
    return Table(
        "How far the judges agree",
        ("judges", "Spearman", "bias", "95 % of differences"),
        tuple(
            (f"{a} - {b}", f"{found.spearman:.2f}", f"{found.bias:+.2f}", f"{found.low:+.1f} to {found.high:+.1f}")
            for (a, b), found in agreements(found).items()
        ),
        "Composites of all replies of the pairs; Bland and Altman 1986.",
    )


def _share(share: Share) -> str:
    if not share.of:
        return "-"
    low, high = share.interval
    return f"{share.value:.0%} ({low:.0%} to {high:.0%})"


def _count(share: Share) -> str:
    return f"{share.count}/{share.of}"


def _number(value: float) -> str:
    return f"{value:+.2f}" if np.isfinite(value) else "-"


def _spread(values: np.ndarray) -> str:
    if np.isnan(values).all():
        return "-"
    return "0 (deterministic)" if values.max() < ROUNDING else f"{values.mean():.2f} (most {values.max():.2f})"


def _mass(one: Calibration) -> str:
    return "none read" if one.digit_mass is None else f"{one.digit_mass[0]:.2f}; {one.digit_mass[1]:.2f}"


def _left_out(one: Calibration) -> str:
    return (
        "-" if one.left_out is None else f"{one.left_out.probable_error.mean():.2f} ({one.left_out.examples} examples)"
    )


def _authored(one: Calibration) -> str:
    return "-" if one.left_out is None else _number(one.left_out.authored_correlation)


def _covered(one: Calibration) -> str:
    if one.left_out is None or one.left_out.coverage is None:
        return "-"
    shares = one.left_out.coverage
    least, most = min(s.value for s in shares), max(s.value for s in shares)
    return f"{sum(s.count for s in shares) / sum(s.of for s in shares):.0%} ({least:.0%} to {most:.0%} by dimension)"
