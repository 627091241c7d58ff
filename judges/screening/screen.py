"""The screen: what a reply must not do, found by rules, without a model, before anybody counts its score.

    violations = patterns (configs/judges/screen_patterns.csv) + counted signs (judges/screening/signs.py)
                 + incitement (judges/screening/danger.py) + unsupported details (judges/screening/confabulation.py)

A violation is reported and charged by a part of the reward of its own; the scores stay as the judge gave them. What the
client says to the judge is not shown to the judge: nobody's score may move by it. English only.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from client_graph.tables import Row, TableError, line_of, read_table
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Turn, Violation
from judges.rubric import JUDGE_CONFIGS
from judges.screening.confabulation import confabulated
from judges.screening.danger import incites
from judges.screening.signs import SIGNS, Scene
from judges.screening.speech import MOST_READ, Speech, read, sentence_spans

PIECE = 2 * MOST_READ  # characters of a long text that are read at once
REMEMBERED = 4096  # texts whose address to a judge is known already
MOST_EVIDENCE = 80  # characters of evidence
SILENCE = "..."  # what the judge sees of a client who spoke to nobody but the judge


class ViolationRow(Row):
    """A kind of violation."""

    kind: str = Field(pattern=r"^[a-z_]+$", description="Its name.")
    description: str = Field(min_length=10, description="What it is, in a sentence.")
    weight: float = Field(ge=0, le=1, description="How grave it is: the share of the full charge.")


class PatternRow(Row):
    """A regular expression that finds one kind of violation in lower-case plain text."""

    kind: str = Field(description="A kind of violations.csv.")
    where: Literal["any", "reply", "client"] = Field(
        description="Whose words it is sought in: the reply's, or `any`: also the client's and the unspoken reasoning's."
    )
    pattern: str = Field(min_length=2, description="The expression; ^ and $ stand at line ends.")
    unless: str = Field(description="What in the client's own words makes it ordinary talk; empty where nothing does.")
    note: str = Field(min_length=3, description="What it finds, in a clause.")


@dataclass(frozen=True)
class Pattern:
    """A compiled row."""

    kind: str
    find: re.Pattern[str]
    unless: re.Pattern[str] | None


@dataclass(frozen=True)
class ScreenTables:
    """weights by kind in file order; the patterns for the reply, and those by which anybody speaks to a judge."""

    weights: dict[str, float]
    reply: tuple[Pattern, ...]
    to_judge: tuple[Pattern, ...]


class Screen:
    """Finds violations. `vocabulary`: known words in lower case; empty switches the signs that need one off.

    Deterministic; never raises on text. Raises TableError where a table is wrong.
    """

    def __init__(self, vocabulary: frozenset[str] = frozenset(), folder: Path = JUDGE_CONFIGS) -> None:
        self.vocabulary = vocabulary
        self.tables = load_screen_tables(folder)
        self._heard: dict[str, str] = {}  # a session's turns come back with every later one

    def __call__(self, exchange: Exchange) -> tuple[Violation, ...]:
        """At most one Violation of each kind, in the order of violations.csv."""
        scene = Scene(exchange, self.vocabulary)
        found: dict[str, str] = {}
        for pattern in self.tables.reply:
            if pattern.kind not in found and (match := _match(pattern, scene.reply, scene.heard)):
                found[pattern.kind] = match
        for start in range(0, len(exchange.reasoning), PIECE):
            thought = read(exchange.reasoning[start : start + PIECE])
            for pattern in self.tables.to_judge:
                if (
                    pattern.kind == "to_judge"
                    and "to_judge" not in found
                    and (match := _match(pattern, thought, scene.heard))
                ):
                    found["to_judge"] = f"in the reasoning: {match}"
        for kind, sign in SIGNS.items():
            if kind not in found and (evidence := sign(scene)):
                found[kind] = evidence
        if evidence := incites(scene):
            found["incitement"] = evidence
        for violation in confabulated(exchange):
            found.setdefault(violation.kind, violation.evidence)
        return tuple(Violation(kind, _short(found[kind])) for kind in self.tables.weights if kind in found)

    def unaddressed(self, exchange: Exchange) -> Exchange:
        """The exchange as the judge may see it: without the sentences that the client, the reasoning or an earlier
        turn says to the judge."""
        return replace(
            exchange,
            client=self._without_address(exchange.client, SILENCE),
            reasoning=self._without_address(exchange.reasoning, ""),
            history=tuple(
                Turn(
                    self._without_address(turn.client, SILENCE),
                    self._without_address(turn.reasoning, ""),
                    self._without_address(turn.therapist, SILENCE),
                )
                for turn in exchange.history
            ),
        )

    def weight(self, violations: Sequence[Violation]) -> float:
        """min(1, sum of weight times share), in [0, 1]: the share of the full charge."""
        return min(1.0, sum(found.share * self.tables.weights[found.kind] for found in violations))

    def _without_address(self, text: str, nothing: str) -> str:
        kept = self._heard.get(text)
        if kept is None:
            kept = "".join(self._withheld(text[i : i + PIECE]) for i in range(0, len(text), PIECE)).strip()
            if len(text) <= PIECE:
                self._heard[text] = kept
            while len(self._heard) > REMEMBERED:
                self._heard.pop(next(iter(self._heard)), None)  # another thread may have been quicker
        return kept or (nothing if text else text)

    def _withheld(self, text: str) -> str:
        """The text without what it says to a judge; empty where nothing is left. At most PIECE characters: all are read."""
        if not self._addresses(text):
            return text
        kept = "".join(part for part in sentence_spans(text) if not self._addresses(part)).strip()
        return "" if not kept or self._addresses(kept) else kept

    def _addresses(self, text: str) -> bool:
        plain = read(text).plain
        return any(pattern.find.search(plain) for pattern in self.tables.to_judge)


def screen(exchange: Exchange, vocabulary: frozenset[str]) -> tuple[Violation, ...]:
    """The violations of one exchange. `vocabulary`: known words in lower case, as SentenceEncoder.vocabulary() gives."""
    return _screen(vocabulary)(exchange)


@cache
def _screen(vocabulary: frozenset[str]) -> Screen:
    return Screen(vocabulary)


class Screened:
    """A judge with the screen before it: the same scores, and what the screen found. The name passes through."""

    def __init__(self, judge: Judge, vocabulary: frozenset[str] = frozenset(), screen: Screen | None = None) -> None:
        self.judging = judge
        self.screen = screen or Screen(vocabulary)

    @property
    def name(self) -> str:
        return self.judging.name

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order; what cannot be read is left to the judge, which says so."""
        readable = [_readable(exchange) for exchange in exchanges]
        shown = [
            self.screen.unaddressed(exchange) if ok else exchange
            for exchange, ok in zip(exchanges, readable, strict=True)
        ]
        answers = self.judging.judge(shown)
        return [
            self._with_violations(answer, exchange) if ok and isinstance(answer, Judgement) else answer
            for answer, exchange, ok in zip(answers, exchanges, readable, strict=True)
        ]

    def _with_violations(self, judgement: Judgement, exchange: Exchange) -> Judgement:
        found = self.screen(exchange)
        kept = tuple(old for old in judgement.violations if old.kind not in {new.kind for new in found})
        return replace(judgement, violations=kept + found)


@cache
def load_screen_tables(folder: Path = JUDGE_CONFIGS) -> ScreenTables:
    """violations.csv and screen_patterns.csv of `folder`, checked and compiled. One TableError lists every mistake."""
    problems: list[str] = []
    violations = read_table(folder / "violations.csv", ViolationRow, problems)
    rows = read_table(folder / "screen_patterns.csv", PatternRow, problems)
    weights = {row.kind: row.weight for row in violations}
    if len(weights) < len(violations):
        problems.append(f"{folder / 'violations.csv'}: found a kind twice; expected each kind once")
    missing = [kind for kind in (*SIGNS, "incitement", "confabulation") if kind not in weights]
    if violations and missing:
        problems.append(f"{folder / 'violations.csv'}: found no row for {', '.join(missing)}; expected one for each")
    compiled = [(row, _compiled(row, weights, folder, problems)) for row in rows]
    if problems:
        raise TableError(problems)
    return ScreenTables(
        weights=weights,
        reply=tuple(pattern for row, pattern in compiled if row.where != "client" and pattern),
        to_judge=tuple(
            pattern for row, pattern in compiled if pattern and row.where != "reply" and row.kind in _ADDRESS
        ),
    )


_ADDRESS = (
    "to_judge",
    "template",
    "fake_turn",
    "meta_commentary",
)  # kinds by which a client can speak past the therapist


def _compiled(row: PatternRow, weights: dict[str, float], folder: Path, problems: list[str]) -> Pattern | None:
    place = f"{folder / 'screen_patterns.csv'}:{line_of(row)}"
    if row.kind not in weights:
        problems.append(f"{place}: found kind {row.kind!r}; expected one of {', '.join(weights)}")
    try:
        unless = re.compile(row.unless, re.MULTILINE) if row.unless else None
        return Pattern(row.kind, re.compile(row.pattern, re.MULTILINE), unless)
    except re.error as error:
        problems.append(f"{place}: found an expression that does not compile ({error}); expected Python's syntax")
        return None


def _match(pattern: Pattern, speech: Speech, heard: Callable[[], str]) -> str:
    """The words that match, or nothing; the client's words are read only where the pattern has matched."""
    match = next((found for found in pattern.find.finditer(speech.plain) if not _denied(pattern, found)), None)
    if match is None or _excused(pattern, match[0], heard):
        return ""
    return match[0].strip() or "a line break"


def _excused(pattern: Pattern, found: str, heard: Callable[[], str]) -> bool:
    """The client has brought up what was matched. Of contempt and threats only the client's very word is: "I hate Mondays" makes
    no insult ordinary talk."""
    if pattern.unless is None:
        return False
    if pattern.kind != "boundary":
        return pattern.unless.search(heard()) is not None
    words = [word[0] for word in pattern.unless.finditer(found)]
    return bool(words) and all(re.search(rf"\b{re.escape(word)}\b", heard()) for word in words)


# "I don't give out my home number", "we won't meet for coffee": a limit in the words of what it refuses.
_DENIAL = re.compile(r"\b(?:don't|do not|can't|cannot|won't|will not|not|never|no)(?: \w+){0,2} $")


def _denied(pattern: Pattern, match: re.Match[str]) -> bool:
    return (
        pattern.kind == "boundary"
        and _DENIAL.search(match.string[max(0, match.start() - 40) : match.start()]) is not None
    )


def _readable(exchange: Exchange) -> bool:
    texts: list[object] = [exchange.client, exchange.reasoning, exchange.therapist]
    texts += [text for turn in exchange.history for text in (turn.client, turn.reasoning, turn.therapist)]
    return all(isinstance(text, str) for text in texts)


def _short(evidence: str) -> str:
    plain = " ".join(evidence.split())
    return plain if len(plain) <= MOST_EVIDENCE else plain[: MOST_EVIDENCE - 1] + "…"
