"""Draw docs/replay.png: the page of `icarus replay` for docs/example_session.json, in a headless browser.

Run from the repository: python docs/make_replay.py [PAGE.html]   (the page is kept where one is named)
A browser is found as tests/browser.py says: ICARUS_BROWSER, or a Chromium or Chrome on PATH.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from browser import NONE, Browser, find_browser  # noqa: E402  # found beside the tests
from PIL import Image  # noqa: E402  # comes with matplotlib

from envs.recording import RecordTurns  # noqa: E402
from envs.replay import write_replay  # noqa: E402
from envs.session import SessionEnv  # noqa: E402
from envs.voice import SpeakingTurn, Utterance, private_reasoning  # noqa: E402

TURN = 2  # where the phase goes on to Opening
FOLD = "phase change"  # the part of the reward that is shown opened


class ReadOut:
    """A client who says the example's lines, whatever the numbers: the picture shows a session that was read by somebody."""

    name = "read out"

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance]:
        return [Utterance(self._lines[len(turn.history)], private_reasoning(turn.view)) for turn in turns]


def play(recording: Path) -> None:
    """The example's session, judged by the offline judge."""
    example = json.loads((HERE / "example_session.json").read_text(encoding="utf-8"))
    lines = [turn["client"] for turn in example["turns"]] + [example["farewell"]]
    env = RecordTurns(SessionEnv(client=ReadOut(lines), stage=example["stage"]), recording)
    env.reset(seed=example["seed"], options={name: example[name] for name in ("concern", "strategy")})
    for turn in example["turns"]:
        *_, terminated, truncated, _ = env.step(f"<think>{turn['reasoning']}</think>{turn['therapist']}")
        if terminated or truncated:
            break
    env.close()


def draw(page: Path, picture: Path) -> None:
    """One turn of the page, with a part of its reward traced to reservoirs and nodes."""
    executable = find_browser()
    if executable is None:
        sys.exit(NONE)
    with Browser(executable) as browser:
        browser.open(page, width=1240, height=1480)
        browser.click(f".turn:nth-child({TURN}) .pick")
        browser.js(
            f"[...document.querySelectorAll('#detail summary')].find((s) => s.textContent.startsWith('{FOLD}')).click()"
        )
        browser.wait_for("document.querySelector('#detail .open')")
        browser.js("document.querySelector('#side').scrollTop = 0; window.scrollTo({top: 0, behavior: 'instant'})")
        browser.picture(picture)
    with Image.open(picture) as drawn:
        few = drawn.convert("RGB").quantize(128, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)  # a third of the bytes; the eye sees no difference


def main(kept: Path | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        recording, page = Path(folder) / "turns.jsonl", kept or Path(folder) / "page.html"
        play(recording)
        write_replay(recording, page)
        draw(page, HERE / "replay.png")
    print(HERE / "replay.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
