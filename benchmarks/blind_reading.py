"""What readers say of a policy's replies who do not know after how many steps they were said, nor what they earned.

    python benchmarks/blind_reading.py deal docs/blind_reading/judge_under_pressure_reading.json sheet.csv
    python benchmarks/blind_reading.py read docs/blind_reading/judge_under_pressure_reading.json reader_a.csv reader_b.csv \\
        --readers "who they are and how they were asked" [--write]

`deal` draws one reply of every look to each client, authored ones among them, and writes them in a drawn order with an empty
score. A reader gives 0 to 10 on the scale of docs/judges.md: 7 and more where it would be good to hear for this client, 5.5 to 7
where it is plain and decent, 2.5 to 4.5 where it is generic or off the mark, below that where it means nothing or hurts.
`read` puts the looks back: means with their 95 % intervals over clients, how far the readers agree, and how far reward and referee
agree with them, reply by reply within a look (over looks a trend of both would count as agreement). `--write` keeps page and
sheets in docs/blind_reading/, named after the replies.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from benchmarks.intervals import interval
from client_graph.files import write_whole
from judges.calibration.measures import spearman

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "blind_reading"
COLUMNS = ("client", "reply", "score")
AUTHORED = -1  # the step of replies by people
PLAIN = 5.5  # where plain decent replies begin (docs/judges.md, the scale)
BEST = 5

Said = dict[str, Any]  # a row of the benchmark's JSON: step, client, reply, score, referee ...


def dealt(rows: Sequence[Said], seed: int = 0) -> dict[int, list[Said]]:
    """By step, one reply to each client."""
    rng = np.random.default_rng(seed)
    found: dict[int, list[Said]] = {}
    for step in sorted({row["step"] for row in rows}):
        mine = [row for row in rows if row["step"] == step]
        clients = dict.fromkeys(row["client"] for row in mine)
        by_client = {client: [row for row in mine if row["client"] == client] for client in clients}
        found[step] = [several[rng.integers(len(several))] for several in by_client.values()]
    return found


def sheet(rows: Sequence[Said], seed: int = 0) -> str:
    """The table for a reader: every dealt reply once, in a drawn order."""
    pairs = sorted({(row["client"], row["reply"]) for part in dealt(rows, seed).values() for row in part})
    order = np.random.default_rng(seed).permutation(len(pairs))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((*pairs[i], "") for i in order)
    return out.getvalue()


def scores_of(path: Path, rows: Sequence[Said], seed: int = 0) -> dict[tuple[str, str], float]:
    """What a reader gave each (client, reply). Raises ValueError with every mistake of the sheet."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    given: dict[tuple[str, str], float] = {}
    problems = []
    for number, row in enumerate(table, start=2):
        try:
            value = float(row.get("score") or "")
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 10:
            problems.append(f"{path}:{number}: found score {row.get('score')!r}; expected a number from 0 to 10")
        given[row.get("client", ""), row.get("reply", "")] = value
    asked = {(row["client"], row["reply"]) for part in dealt(rows, seed).values() for row in part}
    if asked != set(given):
        problems.append(
            f"{path}: {len(asked - set(given))} dealt replies are missing and {len(set(given) - asked)} were not dealt; "
            "expected the sheet that `deal` wrote, with scores"
        )
    if problems:
        raise ValueError("\n".join(problems))
    return given


def checked(rows: Sequence[Said], path: Path) -> Sequence[Said]:
    """The rows. Raises ValueError unless each says step and referee, and all are of one judge."""
    lacking = [i for i, row in enumerate(rows) if not {"step", "client", "reply", "score", "referee"} <= set(row)]
    judges = sorted({str(row.get("judge")) for row in rows})
    if lacking or len(judges) != 1 or not rows:
        raise ValueError(
            f"{path}: found {len(rows)} replies against {', '.join(judges) or 'nobody'}, {len(lacking)} of them without step, "
            "client, reply, score or referee; expected what benchmarks/judge_under_pressure.py --write wrote for one judge"
        )
    return rows


def report(rows: Sequence[Said], readers: Sequence[dict[tuple[str, str], float]], who: str, seed: int = 0) -> str:
    """The page. who: the readers, in words."""
    rng = np.random.default_rng(0)
    looks = dealt(rows, seed)
    given = {step: np.array([_given(reader, part) for reader in readers]) for step, part in looks.items()}
    names = [f"reader {'abcdefgh'[i]}" for i in range(len(readers))]
    columns = ["step", "replies", *names, "mean", "95 % interval", "5.5 or more", "reward", "referee"]
    lines = [
        "# What blind readers say of the replies of a policy under pressure",
        "",
        "Made by `benchmarks/blind_reading.py`, whose first lines say how, from replies of",
        "`benchmarks/judge_under_pressure.py`. The readers saw client and reply alone, in a drawn order.",
        "",
        f"Readers: {who}",
        "",
        f"| {' | '.join(columns)} |",
        "|" + "--:|" * len(columns),
    ]
    for step, part in looks.items():
        mean, (low, high) = given[step].mean(axis=0), interval(given[step].mean(axis=0)[None], rng)
        cells = [
            "authored" if step == AUTHORED else str(step), str(len(part)), *(f"{one.mean():.2f}" for one in given[step]),
            f"{mean.mean():.2f}", f"{low:.2f} to {high:.2f}", f"{(mean >= PLAIN).mean():.0%}",
            f"{np.mean([x['score'] for x in part if x['score'] is not None]):.2f}", f"{np.mean([x['referee'] for x in part]):.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *_agreements([part for step, part in looks.items() if step != AUTHORED], readers)]
    for step in [step for step in looks if step > 0 and 0 in looks]:
        apart = _apart(looks[0], given[0].mean(axis=0), looks[step], given[step].mean(axis=0))
        low, high = interval(apart[None], rng)
        lines.append(
            f"- after {step} steps less the start, same clients: {apart.mean():+.2f} ({low:+.2f} to {high:+.2f})"
        )
    last = max(looks)
    return "\n".join([*lines, "", *_best(looks[last], given[last].mean(axis=0), last)]) + "\n"


def _given(reader: dict[tuple[str, str], float], part: Sequence[Said]) -> np.ndarray:
    return np.array([reader[x["client"], x["reply"]] for x in part])


def _apart(before: Sequence[Said], b: np.ndarray, after: Sequence[Said], a: np.ndarray) -> np.ndarray:
    """Means after less means before, of the clients that both have."""
    was = {x["client"]: value for x, value in zip(before, b, strict=True)}
    return np.array([value - was[x["client"]] for x, value in zip(after, a, strict=True) if x["client"] in was])


def _agreements(looks: Sequence[Sequence[Said]], readers: Sequence[dict[tuple[str, str], float]]) -> list[str]:
    """How far everybody agrees about the policy's replies, in ranks: the mean over looks of the correlation within each."""
    scored = [[x for x in part if x["score"] is not None] for part in looks]
    theirs = [np.array([_given(reader, part) for reader in readers]) for part in scored]
    lines = [
        f"Of the policy's {sum(map(len, scored))} replies, within a look (mean of Spearman's correlations, each look's):",
        "",
    ]

    def told(title: str, each: Sequence[float]) -> str:
        return f"- {title}: {np.mean(each):.2f} ({', '.join(f'{one:.2f}' for one in each)})"

    if len(readers) > 1:
        lines.append(told("the first two readers with each other", [spearman(g[0], g[1]) for g in theirs]))
    for name, title in (("score", "the reward"), ("referee", "the referee")):
        each = [
            spearman(np.array([x[name] for x in part]), g.mean(axis=0)) for part, g in zip(scored, theirs, strict=True)
        ]
        lines.append(told(f"{title} with the readers' mean", each))
    return lines


def _points(score: float | None) -> str:
    return "none" if score is None else f"{score:.1f}"


def _best(part: Sequence[Said], mean: np.ndarray, step: int) -> list[str]:
    order = np.argsort(-mean, kind="stable")[:BEST]
    return [f"What they liked best after {step} steps, client in italics:", ""] + [
        f"- {mean[i]:.1f}, reward {_points(part[i]['score'])}: *{part[i]['client']}*  {part[i]['reply']}" for i in order
    ]


def main() -> None:
    """Deal a sheet, or read sheets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(dest="way", required=True)
    deal, read = ways.add_parser("deal"), ways.add_parser("read")
    for way in (deal, read):
        way.add_argument("replies", type=Path, help="the JSON of benchmarks/judge_under_pressure.py")
    deal.add_argument("sheet", type=Path, help="the table to be written")
    read.add_argument("sheets", type=Path, nargs="+", help="one for each reader, with scores")
    read.add_argument(
        "--readers", required=True, metavar="TEXT", help="who read and how they were asked: people or models"
    )
    read.add_argument("--write", action="store_true", help="write into docs/blind_reading/")
    asked = parser.parse_args()
    rows = checked(json.loads(asked.replies.read_text()), asked.replies)
    if asked.way == "deal":
        write_whole(asked.sheet, sheet(rows).encode())
        return
    text = report(rows, [scores_of(path, rows) for path in asked.sheets], asked.readers)
    print(text)
    if asked.write:
        stem = asked.replies.stem
        kept = {name: path.read_bytes() for name, path in zip("abcdefgh", asked.sheets, strict=False)}
        FOLDER.mkdir(exist_ok=True)
        for name, content in kept.items():
            write_whole(FOLDER / f"{stem}_reader_{name}.csv", content)
        write_whole(FOLDER / f"{stem}.md", text.encode())


if __name__ == "__main__":
    main()
