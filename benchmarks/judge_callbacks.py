"""What the reading judge leaves of replies in whole sessions, read after the client's last words and after earlier lines too.

    python benchmarks/judge_callbacks.py [--model smollm2]

The replies are those of the hand-written sessions (configs/sessions), none of which the judge has learned from, without what is
marked a misstep; beside them the same replies said in another session at the same turn. A good reply often takes up what was said
some turns ago; one that was meant for somebody else must not gain by it. The judge beside the reading gives every reply a seven.
About three minutes on two cores.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.corpus import heard, sessions_of
from agents.judge import BaseReader
from agents.lm.models import load_model
from judges.offline.examples import read_examples
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement, Turn
from judges.reading.judge import WithReading
from judges.reading.kept import cached_reading

GIVEN = 7.0
VIEW = Assessment(np.full(12, GIVEN), ("given",) * 12, "given")


class Given:
    """A judge that gives every reply the same, so that what is left says what the reading took off."""

    name = "given"

    def judge(self, exchanges: list[Exchange]) -> list[Judgement | JudgeFailure]:
        return [Judgement(VIEW, VIEW) for _ in exchanges]


def exchanges() -> tuple[list[Exchange], list[Exchange]]:
    """(as they were said, each reply said in the next session at the same turn), with their histories."""
    told = [
        [Turn(heard(turn.client_utterance), "", heard(turn.therapist_utterance)) for turn in session.turns]
        for session in sessions_of(None)
    ]
    own, swapped = [], []
    for s, session in enumerate(sessions_of(None)):
        other = told[(s + 1) % len(told)]
        for t, turn in enumerate(session.turns):
            if turn.misstep or t == 0:
                continue
            own.append(Exchange(told[s][t].client, "", told[s][t].therapist, tuple(told[s][:t])))
            if t < len(other):
                swapped.append(Exchange(other[t].client, "", told[s][t].therapist, tuple(other[:t])))
    return own, swapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    asked = parser.parse_args()
    reader = BaseReader(load_model(asked.model))
    judge = WithReading(Given(), reader, cached_reading(reader, read_examples()))
    print("| replies | read after | points left of seven | less than half left |\n|---|---|--:|--:|")
    for name, said in zip(("as they were said", "said in another session"), exchanges(), strict=True):
        alone = [Exchange(one.client, "", one.therapist) for one in said]
        for after, read in (("the last words", alone), ("the earlier lines too", said)):
            left = np.array([one.composite for one in judge.judge(read) if isinstance(one, Judgement)])
            print(
                f"| {name}, {len(said)} | {after} | {left.mean():.2f} | {np.mean(left < (GIVEN + 1) / 2):.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
