"""The replay page: one file, nothing from outside, words that stay words; read from both sources; looked at in a browser."""

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from browser import NONE, Browser, find_browser
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.lm.generate import Completion
from agents.record import turn_record
from agents.self_play import TurnResult
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from envs.recording import RecordingError, RecordTurns, read_turns
from envs.replay import PARTS, replay_page, write_replay
from envs.replay_source import read_replay
from envs.session import SessionEnv
from envs.turn_record import TurnRecord
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
NASTY = (
    "</script><script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    "<!-- --><!--<script>",
    "]]> &lt;b&gt; &amp; \u2028\u2029 ${alert(1)} `+window.pwned`",
    "\ud800 half, \u202e turned, \u0007 bell, 日本語 🙂 é",
    "$contents $style $$ ${title}",
)


def reasons(exchange: Exchange) -> Judgement:
    """Varied scores; the judges say nasty things."""
    scores = [4.0 + (5 * len(exchange.history) + 3 * d + len(exchange.therapist)) % 6 for d in range(12)]
    kind = Assessment(
        [min(10.0, s + 1) for s in scores], tuple(NASTY[d % 6] for d in range(12)), NASTY[0], NASTY[1:3], NASTY[3:]
    )
    return Judgement(kind, Assessment(scores, ("",) * 12, "harsh words", ("a moment",), ("advice",)))


@pytest.fixture(scope="module")
def treatment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions of one client, then one of another."""
    path = tmp_path_factory.mktemp("replay") / "turns.jsonl"
    env = RecordTurns(SessionEnv(catalog=CATALOG, judge=ScriptedJudge(reasons), max_turns=3), path)
    for seed, turns, options in (
        (2, 3, None),
        (None, 3, {"same_client": True}),
        (None, 3, {"same_client": True}),
        (3, 2, None),
    ):
        env.reset(seed=seed, options=options)
        for k in range(turns):
            env.step(f"<think>A thought {k}.</think>A reply{'.' * k}")
    env.close()
    return path


@pytest.fixture(scope="module")
def nasty(treatment: Path) -> list[TurnRecord]:
    """The same turns, with words that would like to be markup."""
    turns = read_turns(treatment)
    person = turns[0].person | {"name": NASTY[0], "history": NASTY[1], "opening": NASTY[4], "concern": NASTY[2]}
    words = {
        "client": NASTY[0],
        "client_reasoning": NASTY[4],
        "therapist": NASTY[1] + NASTY[3],
        "therapist_reasoning": NASTY[5],
    }
    return [turn.model_copy(update=words | {"person": person}) for turn in turns]


@pytest.fixture(scope="module")
def training_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder as a training run writes it."""
    folder = tmp_path_factory.mktemp("run")
    env = SessionEnv(catalog=CATALOG, judge=ScriptedJudge(reasons), max_turns=3)
    observation, _ = env.reset(seed=8)
    lines = []
    for k in range(3):
        said = Completion([1, 2], f"Hm.</think>Reply {k}\x07", 2)
        outcome, client = env.evaluate([f"Hm.</think>Reply {k}"])[0], observation["client"]
        observation, reward, terminated, truncated, info = env.step(f"Hm.</think>Reply {k}")
        result = TurnResult(
            client=client, reply=said, outcome=outcome, corrected=said, corrected_outcome=JudgeFailure("none"), rlaif=None,
            rlaif_skipped="test", candidates=[], candidate_outcomes=[], grpo=None, grpo_skipped="test", modifier=1.0,
            observation=observation, reward=reward, terminated=terminated, truncated=truncated, info=info,
        )  # fmt: skip
        lines.append(json.dumps(turn_record(result, 1, k + 1, k + 1, CATALOG)))
    (folder / "turns.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


class Parsed(HTMLParser):
    """What an HTML parser sees of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self._in = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self._in = tag if not dict(attributes).get("type") else "contents"

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self._in, []).append(data)

    def text(self, name: str) -> str:
        return "".join(self.inside[name])

    def sessions(self) -> list[list[dict[str, Any]]]:
        """The turns as the page's own script unpacks them."""
        packed = [session["packed"] for session in json.loads(self.text("contents"))["sessions"]]
        return [json.loads(gzip.decompress(base64.b64decode(data))) for data in packed]


def test_the_page_carries_everything_and_may_load_nothing(treatment: Path) -> None:
    found = Parsed(replay_page(read_turns(treatment)))
    for tag, attributes in found.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "srcset", "style", "data", "action"} & set(attributes), (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    for part in ("script", "style"):
        # The names of XML's vocabularies are names, not addresses.
        text = found.text(part).replace("http://www.w3.org/2000/svg", "")
        assert not re.search(
            r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|WebSocket|innerHTML|eval\(|document\.write", text
        )
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    for part in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(found.text(part).encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "not for clinical use" in replay_page(read_turns(treatment))


def test_what_was_said_is_there_without_scripts(treatment: Path, nasty: list[TurnRecord]) -> None:
    turns = read_turns(treatment)
    plain = re.search(r"<noscript>(.*?)</noscript>", replay_page(turns), re.DOTALL)
    assert plain is not None
    lines = [html.unescape(line) for line in re.findall(r"<p><b>.*?</b> (.*?)</p>", plain[1])]
    assert lines[:7] == [
        text for turn in turns[:3] for text in (turn.client, turn.therapist)
    ] + [turns[2].after.client]  # fmt: skip
    assert len(re.findall("<h2>", plain[1])) == 4
    assert len(plain[0]) < 0.2 * len(replay_page(turns))
    wild = Parsed(replay_page(nasty))
    assert [tag for tag, _ in wild.tags].count("b") == len(lines)
    assert NASTY[0] in "".join(wild.inside[""])


def test_nasty_words_stay_words(nasty: list[TurnRecord]) -> None:
    page = replay_page(nasty, notes=NASTY)
    page.encode()
    found = Parsed(page)
    assert [tag for tag, _ in found.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in found.tags]
    assert found.sessions()[0][0]["client"] == NASTY[0]
    assert json.loads(found.text("contents"))["notes"] == list(NASTY)


PIECES = (*"<>/&!-\"'`$ {}]\u2028\ud800é", "script", "<!--", "</")


@settings(max_examples=25)
@given(words=st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_ends_its_place_in_the_page(nasty: list[TurnRecord], words: str) -> None:
    person = nasty[0].person | {"name": words}
    page = replay_page([nasty[0].model_copy(update={"client": words, "person": person})], notes=[words], title=words)
    page.encode()
    found = Parsed(page)
    usual = Parsed(replay_page([nasty[0]]))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in usual.tags]
    contents = json.loads(found.text("contents"))
    assert contents["sessions"][0]["person"]["name"] == words
    assert found.sessions()[0][0]["client"] == words


def test_sessions_of_a_treatment_are_apart(treatment: Path) -> None:
    turns = read_turns(treatment)
    sessions = Parsed(replay_page(turns)).sessions()
    assert [len(session) for session in sessions] == [3, 3, 3, 2]
    assert [turn["therapist"] for session in sessions for turn in session] == [turn.therapist for turn in turns]


def test_a_branch_is_a_part_of_its_own(treatment: Path) -> None:
    turns = read_turns(treatment)
    played = [turns[0], turns[1], turns[1], turns[2]]  # back to a snapshot before the second turn
    assert [len(session) for session in Parsed(replay_page(played)).sessions()] == [2, 2]


def test_the_trace_is_in_the_page(treatment: Path) -> None:
    turn, said = Parsed(replay_page(read_turns(treatment))).sessions()[0][0], read_turns(treatment)[0]
    assert [node["node"] for node in turn["moved"]] == [node.node for node in said.moved[:8]]
    assert turn["traced"] is True
    first = turn["moved"][0]
    carried = sum(cause[2] for cause in first["causes"]) + first["other_edges"] + first["clipped"]
    assert first["before"] + carried == pytest.approx(first["after"], abs=0.002)
    assert sum(turn["trace"]["composite"].values()) == pytest.approx(turn["reward_parts"]["composite"], abs=0.001)
    assert len(turn["judgement"]["kind"]["scores"]) == len(DIMENSIONS)


def test_twenty_turns_are_a_small_file(treatment: Path) -> None:
    turns = read_turns(treatment)
    # With the embedding judge's long reasons a turn takes 8 kB packed; these are shorter.
    assert len(replay_page([turns[k % 9] for k in range(20)]).encode()) < 300_000


def test_a_training_run_is_read_too(training_run: Path) -> None:
    found = read_replay(training_run)
    assert [(t.turn, t.therapist, t.therapist_reasoning) for t in found.turns] == [
        (k, f"Reply {k - 1}", "Hm.") for k in (1, 2, 3)
    ]
    assert "keeps less than a recording" in found.notes[0]
    first, second, third = found.turns
    assert (first.before, first.client_reasoning, first.therapist_model) == (None, None, None)
    assert second.before is not None
    assert second.before.alliance == first.after.alliance
    assert second.client_reasoning == first.after.client_reasoning
    assert second.therapist_model is not None
    assert third.trace is None
    page = Parsed(replay_page(found.turns, found.notes)).sessions()[0]
    assert page[0]["moved"] is None
    assert len(page[1]["moved"]) == 8
    assert page[1]["traced"] is False
    assert read_replay(training_run / "turns.jsonl") == found


def test_a_torn_line_is_said_on_the_page(treatment: Path, training_run: Path, tmp_path: Path) -> None:
    for source, whole in ((treatment, 11), (training_run / "turns.jsonl", 3)):
        torn = tmp_path / f"{source.parent.name}.jsonl"
        torn.write_bytes(source.read_bytes()[:-50])
        found = read_replay(torn)
        assert len(found.turns) == whole - 1
        assert "torn" in found.notes[-1]
        assert "torn" in Parsed(replay_page(found.turns, found.notes)).text("contents")


def test_what_is_no_run_is_refused_in_one_error(tmp_path: Path, training_run: Path) -> None:
    with pytest.raises(RecordingError, match=r"no turns\.jsonl"):
        read_replay(tmp_path)
    with pytest.raises(RecordingError, match=r"nowhere\.jsonl: could not be read"):
        read_replay(tmp_path / "nowhere.jsonl")
    lines = (training_run / "turns.jsonl").read_text(encoding="utf-8").splitlines()
    broken = json.loads(lines[1])
    del broken["after"]["alliance"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join([lines[0], json.dumps(broken), '"text"', lines[2]]) + "\n", encoding="utf-8")
    with pytest.raises(RecordingError) as error:
        read_replay(bad)
    assert [problem.split(":")[1] for problem in error.value.problems] == ["2", "3"]
    assert "alliance" in error.value.problems[0]
    with pytest.raises(ValueError, match="no turn"):
        replay_page([])


def test_a_page_is_written_whole_or_not_at_all(
    treatment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    write_replay(treatment, page)
    whole = page.read_bytes()
    assert whole.decode() == replay_page(read_turns(treatment))

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_replay(treatment, page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert page.read_bytes() == whole


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", style.split("prefers-color-scheme: dark")[scheme]))
    for ink in ("ink", "soft", "client", "therapist", "up", "down"):
        for ground in ("paper", "sheet", "wash", "chosen"):
            high, low = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


# --- in a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = find_browser()
    if executable is None:
        pytest.skip(NONE)
    with Browser(executable) as running:
        yield running


@pytest.fixture(scope="module")
def page(treatment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_replay(treatment, path)
    return path


TEXT = "document.querySelector('main').textContent"
TITLE = "document.querySelector('#detail .title').textContent"
OPEN_ALL = "document.querySelectorAll('#detail details').forEach((box) => { box.open = true; })"
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


def test_a_turn_is_chosen_by_click_and_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.js(TITLE).startswith("Turn 1")
    browser.click(".turn:nth-child(2) .pick")
    assert browser.js(TITLE).startswith("Turn 2")
    assert browser.js("document.querySelectorAll('.pick[aria-pressed=true]').length") == 1
    browser.press("ArrowDown")
    assert browser.js(TITLE).startswith("Turn 3")
    assert "Turn 3 of session 1" in browser.js("document.getElementById('status').textContent")
    browser.press("ArrowDown")  # beyond the last turn lies the next session
    browser.wait_for("document.querySelector('#transcript h2').textContent.startsWith('Session 2')")
    assert browser.js(TITLE).startswith("Turn 1")
    browser.press("ArrowUp")
    browser.wait_for("document.querySelector('#transcript h2').textContent.startsWith('Session 1')")
    assert browser.js(TITLE).startswith("Turn 3")
    assert browser.complaints == []
    assert browser.requests == [page.resolve().as_uri()]


def test_a_turn_opens_to_its_trace(browser: Browser, page: Path, treatment: Path) -> None:
    browser.open(page)
    node = read_turns(treatment)[0].moved[0]
    section = (
        "[...document.querySelectorAll('#detail section')].find((s) => s.textContent.startsWith('What moved most'))"
    )
    browser.js(f"{section}.querySelector('summary').click()")
    browser.wait_for(f"{section}.querySelector('.chain')")
    chain = browser.js(f"[...{section}.querySelectorAll('.chain li')].map((step) => step.textContent)")
    assert chain[1].startswith(node.node.replace("_", " "))
    assert chain[3].startswith("phase score")
    told = browser.js(f"{section}.querySelector('.open').textContent")
    for cause in node.causes:
        assert cause.how.split(":")[0].split(",")[0] in told
        assert cause.source.replace("_", " ") in told
    browser.js(OPEN_ALL)
    assert "[object" not in browser.js(TEXT)
    assert "undefined" not in browser.js(TEXT)
    assert "NaN" not in browser.js(TEXT)
    assert browser.complaints == []


def test_words_that_would_be_markup_are_shown_as_words(
    browser: Browser, nasty: list[TurnRecord], tmp_path: Path
) -> None:
    path = tmp_path / "nasty.html"
    path.write_text(replay_page(nasty, NASTY, title=NASTY[0]), encoding="utf-8")
    browser.open(path)
    browser.js(OPEN_ALL)
    browser.js("document.querySelectorAll('#who details').forEach((box) => { box.open = true; })")
    assert browser.js("window.pwned === undefined")
    assert browser.js("document.querySelectorAll('img, #transcript script').length") == 0
    assert browser.js("document.querySelector('.client .words').textContent") == NASTY[0]
    assert browser.js("document.querySelector('h1').textContent") == NASTY[0]
    assert browser.js(OVERFLOW) <= 0
    assert browser.complaints == []
    assert browser.requests == [path.resolve().as_uri()]


def test_without_scripts_the_words_are_on_the_screen(browser: Browser, page: Path, treatment: Path) -> None:
    first = read_turns(treatment)[0]
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.ask("Page.navigate", url=page.resolve().as_uri())
        browser.wait_for("document.readyState === 'complete' && document.querySelector('noscript p') !== null")
        shown = browser.js("document.body.innerText")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert first.client in shown
    assert first.therapist in shown


def test_an_early_end_is_explained(browser: Browser, treatment: Path, tmp_path: Path) -> None:
    first = read_turns(treatment)[0]
    for points, told in ((-96.0, "the client left"), (160.0, "what had to be done was done")):
        turn = first.model_copy(update={"reward_parts": first.reward_parts | {"ending": points}})
        path = tmp_path / f"{points}.html"
        path.write_text(replay_page([turn]), encoding="utf-8")
        browser.open(path)
        browser.js(OPEN_ALL)
        shown = browser.js(TEXT)
        assert "turns not held" in shown
        assert told in shown


def test_a_phone_reads_it_without_sideways_scrolling(browser: Browser, page: Path) -> None:
    browser.open(page, width=360, height=740, scale=2)
    assert browser.js("window.innerWidth") == 360
    for turn in (1, 2, 3):
        browser.click(f".turn:nth-child({turn}) .pick")
        assert browser.js("document.querySelector('#detail').closest('.turn').matches('.chosen')")
        browser.js(OPEN_ALL)
        browser.wait_for("document.querySelectorAll('#detail .open').length > 20")
        assert browser.js(OVERFLOW) <= 0
    wide = "(e) => e.getBoundingClientRect().right > 361"
    assert browser.js(f"[...document.querySelectorAll('main *:not(.unseen)')].filter({wide}).length") == 0
    assert browser.js("document.querySelector('.pick').getBoundingClientRect().height") >= 24  # WCAG 2.5.8
    assert browser.complaints == []


def test_dark_mode_is_dark(browser: Browser, page: Path) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    browser.open(page)
    light = browser.js(ground)
    browser.open(page, dark=True)
    numbers = [int(n) for n in re.findall(r"\d+", browser.js(ground))[:3]]
    assert browser.js(ground) != light
    assert max(numbers) < 60


def test_everything_that_can_be_used_has_a_name(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js(OPEN_ALL)
    nameless = (
        "[...document.querySelectorAll('button, select, input, summary, a, section, aside, nav')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).length"
    )
    assert browser.js(nameless) == 0
    assert browser.js("document.documentElement.lang") == "en"
    assert browser.js("[...document.querySelectorAll('h1')].length") == 1


def test_what_a_training_run_does_not_keep_is_said(browser: Browser, training_run: Path, tmp_path: Path) -> None:
    write_replay(training_run, tmp_path / "run.html")
    browser.open(tmp_path / "run.html")
    assert "keeps less" in browser.js("document.querySelector('#who').textContent")
    for _ in range(3):
        browser.js(OPEN_ALL)
        text = browser.js(TEXT)
        assert "Not kept" in text or "not kept" in text
        assert "undefined" not in text
        browser.press("ArrowDown")
    assert browser.complaints == []


def test_two_thousand_turns_open(browser: Browser, treatment: Path, tmp_path: Path) -> None:
    turns = list(read_turns(treatment))[:3]
    many = [turns[k % 3].model_copy(update={"session": 1 + k // 20, "turn": 1 + k % 20}) for k in range(2_000)]
    path = tmp_path / "many.html"
    path.write_text(replay_page(many), encoding="utf-8")
    browser.open(path)
    assert browser.js("document.querySelectorAll('option').length") == 100
    assert browser.js("document.querySelectorAll('.turn').length") == 20  # one session is in the page at a time
    took = browser.js("performance.now()")
    assert took < 10_000
    browser.js("openSession(99)")
    assert browser.js("document.querySelector('#transcript h2').textContent").startswith("Session 100")
    assert browser.complaints == []
