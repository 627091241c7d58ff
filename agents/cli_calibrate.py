"""The command `icarus calibrate-judge`: what is known of a judge's error, as tables, JSON and a picture."""

import argparse
from pathlib import Path
from typing import Any


def add_calibrate(commands: Any) -> None:
    """`calibrate-judge` among the subcommands."""
    calibrate = commands.add_parser(
        "calibrate-judge",
        help="measure a judge: accuracy, spread, biases, agreement",
        description="Measure judges on held-out pairs of replies, on repeats, on other clients and on left-out examples.",
        epilog="An anthropic judge is paid for: a full calibration asks it some 600 times, a quick one some 250, twice each.",
    )
    calibrate.add_argument(
        "--judge", action="append", metavar="NAME",
        help="embedding (the default), reading, self, self:MODEL, anthropic, anthropic:MODEL, or a folder; repeat it to compare",
    )  # fmt: skip
    calibrate.add_argument("--quick", action="store_true", help="every third pair, and no left-out examples")
    calibrate.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    calibrate.add_argument(
        "--write", type=Path, metavar="DIR", help="write JSON, Markdown and picture into this folder"
    )
    calibrate.add_argument(
        "--keep", action="store_true", help="keep the JSON where icarus judge finds it and quotes it"
    )
    calibrate.set_defaults(run=run_calibrate)


def run_calibrate(asked: argparse.Namespace) -> int:
    """Print the tables, write what was asked for; 0. Raises JudgeUnavailable, or OSError where the folder cannot be made."""
    from rich.console import Console

    from agents import judges
    from judges.calibration.run import QUICK, calibrate
    from judges.calibration.tables import tables
    from judges.pairs import held_out
    from judges.protocol import JudgeUnavailable

    if asked.quick and asked.keep:
        raise JudgeUnavailable("found --quick and --keep; a quick calibration is none to quote: leave out one of them")
    console = Console()
    if asked.write:
        asked.write.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(asked.judge or ["embedding"]))
    pairs = held_out()[:: QUICK if asked.quick else 1]
    found = []
    for name in names:
        chosen = judges.choose_judge(name, texts=False)
        if not asked.markdown:
            console.print(f"{chosen.judge.name}: {len(pairs)} pairs ...", style="dim", highlight=False)
        found.append(calibrate(chosen.judge, pairs, None if asked.quick else chosen.learner))
        if found[-1].failures.count == found[-1].failures.of:
            raise JudgeUnavailable(f"{chosen.judge.name} judged nothing: {found[-1].why}")
    for table in tables(found):
        print(table.markdown()) if asked.markdown else console.print(table.rich())
    for one in found:
        if one.failures.count:
            console.print(
                f"{one.judge} failed {one.failures.count} times, first: {one.why}", style="yellow", highlight=False
            )
    for one in found if asked.keep else ():
        console.print(f"kept: {_kept(one)}", highlight=False)
    for path in _written(asked.write, found, quick=asked.quick) if asked.write else ():
        console.print(f"written: {path}", highlight=False)
    return 0


def _kept(one: Any) -> Path:
    from judges.calibration import file as calibration_file

    calibration_file.SHIPPED.mkdir(parents=True, exist_ok=True)
    return calibration_file.write_calibration(calibration_file.SHIPPED, one)


def _written(folder: Path, found: list[Any], quick: bool) -> list[Path]:
    """One JSON for each judge, the tables and the picture of all. A quick one says so in its name: no sheet quotes it."""
    from client_graph.files import write_whole
    from judges.calibration.file import write_calibration
    from judges.calibration.picture import write_picture
    from judges.calibration.tables import tables

    stem = "quick-calibration" if quick else "calibration"
    page, picture = folder / f"{stem}.md", folder / f"{stem}.png"
    write_whole(page, "\n".join(table.markdown() for table in tables(found)).encode())
    write_picture(picture, found)
    return [*(write_calibration(folder, one) for one in found if not quick), page, picture]
