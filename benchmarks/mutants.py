"""How many planted faults the tests find: mutation testing of client_graph and rewards, one mutant after the other.

    make mutants                     (installs mutmut; hours for all, minutes for one file)
    python benchmarks/mutants.py [--only client_graph/graph.py ...] [--tests tests/test_client_graph_laws.py ...]

mutmut leaves decorated functions alone, which would be every compiled one: a run that looks clean and has tried nothing. The
mutants are therefore planted in a copy from which the line `@compiled` is taken out, so that the turn runs as plain Python:
the decorator changes speed and nothing else. Prints a table by file; fails when a file had no mutant executed, or when fewer
than `--least` of all mutants were killed (one that no test reaches counts as alive). A killed mutant costs a second or two, one
that survives all tests that reach it, up to a minute. Tests marked `many` are left out: they would double that.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MUTATED = ("client_graph", "rewards")
LEFT_OUT = (
    "client_graph/drawing.py",
    "client_graph/testing/*",
)  # pictures are looked at; the reference is what tests compare with
KILLED, SURVIVED, NO_TESTS, TIMEOUT = "killed", "survived", "no tests", "timeout"
EXIT_CODES = {
    0: SURVIVED,
    5: NO_TESTS,
    33: NO_TESTS,
    1: KILLED,
    3: KILLED,
    24: TIMEOUT,
    36: TIMEOUT,
    -24: TIMEOUT,
    152: TIMEOUT,
    255: TIMEOUT,
}


def planted_copy(folder: Path, only: list[str], tests: list[str]) -> None:
    """The packages, tables and tests in `folder`, with `@compiled` taken out and mutmut's settings written."""
    for name in (*MUTATED, "judges", "envs", "agents", "dapt", "configs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for package in MUTATED:
        for path in (folder / package).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            path.write_text(source.replace("\n@compiled\n", "\n"), encoding="utf-8")
    settings = {
        "source_paths": list(MUTATED),
        "only_mutate": only or [f"{package}/*" for package in MUTATED],
        "do_not_mutate": list(LEFT_OUT),
        "also_copy": ["judges", "envs", "agents", "dapt", "configs"],
        "pytest_add_cli_args": ["-q", "-x", "-p", "no:cacheprovider", "-m", "not many"],
        "pytest_add_cli_args_test_selection": tests,
    }
    lines = [
        "[tool.pytest.ini_options]",
        'pythonpath = ["."]',
        'markers = ["real: loads models", "many: many turns of many clients"]',
        "[tool.mutmut]",
    ]
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    (folder / "pyproject.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def outcomes(folder: Path) -> dict[str, dict[str, str]]:
    """What became of each mutant, by file and name; `mutmut show NAME` in the folder prints what was changed."""
    found = {}
    for path in sorted((folder / "mutants").rglob("*.py.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        if codes:
            file = path.relative_to(folder / "mutants").as_posix().removesuffix(".meta")
            found[file] = {name: EXIT_CODES.get(code, f"exit {code}") for name, code in codes.items()}
    return found


def main() -> int:
    """Plant, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="files to mutate, as client_graph/graph.py")
    parser.add_argument("--tests", nargs="*", default=[], help="test files; default: those of client_graph and rewards")
    parser.add_argument("--least", type=float, default=0.9, help="least share of all mutants that must be killed")
    parser.add_argument("--folder", type=Path, help="where to work, kept afterwards; default: a temporary folder")
    asked = parser.parse_args()
    tests = asked.tests or [
        path.relative_to(ROOT).as_posix()
        for kind in MUTATED
        for path in sorted((ROOT / "tests").glob(f"test_{kind}_*.py"))
        if path.name != "test_client_graph_drawing.py"
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        planted_copy(folder, asked.only, tests)
        environment = os.environ | {"HYPOTHESIS_PROFILE": "mutants"}
        log = folder / "mutmut.log"
        with log.open("w", encoding="utf-8") as out:
            command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
            subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, check=False)
        found = outcomes(folder)
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    by_file = {file: Counter(fates.values()) for file, fates in found.items()}
    print(f"{'file':<40}{'mutants':>9}{'executed':>10}{'killed':>8}{'killed of all':>15}")
    for file, counts in [*by_file.items(), ("all", sum(by_file.values(), Counter()))]:
        print(
            f"{file:<40}{counts.total():>9}{executed(counts):>10}{killed(counts):>8}{killed(counts) / counts.total():>15.1%}"
        )
    for fates in found.values():
        for name, fate in fates.items():
            if fate not in (KILLED, TIMEOUT):
                print(f"{fate}: {name}")
    idle = [file for file, counts in by_file.items() if not executed(counts)]
    if idle or not found:
        print("\n".join(last))
        print(
            f"no mutant was executed in {', '.join(idle) or 'any file'}; expected some: see what mutmut printed last, above"
        )
    total = sum(by_file.values(), Counter())
    return int(bool(idle) or not found or killed(total) < asked.least * total.total())


def killed(counts: Counter[str]) -> int:
    """Mutants that a test failed on, or that never ended."""
    return counts[KILLED] + counts[TIMEOUT]


def executed(counts: Counter[str]) -> int:
    """Mutants that at least one test has run."""
    return killed(counts) + counts[SURVIVED]


if __name__ == "__main__":
    sys.exit(main())
