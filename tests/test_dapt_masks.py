"""Selective masks: what is learned of a text, cut with its windows; a loss over that alone; windows that teach nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import fakes
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from test_dapt_dfr import labelled, one_span
from test_dapt_rra import KINDS, TOKENS, adapted, memory_of
from test_dapt_token_places import MADE
from test_dapt_trainer import log, logs, run, told
from test_dapt_uhd import plain

from agents.lm.adapters import tree_hash
from agents.lm.device import mx
from agents.lm.five_tuple import FORWARD, UHD, Session, SessionFileError, write_sessions
from agents.lm.lora import flatten, trainable
from agents.lm.ranks import Ranks
from agents.lm.run_folder import STEPS, RunFolder
from dapt.adwc import Windows
from dapt.anchors import LABELS, SPANS
from dapt.cli import _line, _looked
from dapt.compressor import Compressor
from dapt.dfr import PLACES
from dapt.held_out import held_out_losses
from dapt.markup import Stretch
from dapt.masks import Learnable, Sample, Sampler
from dapt.report import write_report
from dapt.rolling import read_on
from dapt.rra import Window, cache_shapes, compressed, history_of, loss_of, pass_window, window_loss
from dapt.settings import CorpusPart, DaptSettings, DaptSettingsError, OptimizerPart, WindowPart, read_dapt_settings
from dapt.trainer import DaptTrainer

quick = settings(max_examples=40, deadline=None)


def learned(session: Session, *learn: Learnable, anchors: bool = False, header: str = FORWARD) -> list[str]:
    """The words of a session that are learned, one string for each stretch of tokens."""
    return shown(Sampler(fakes.ByteTokenizer(), learn, anchors), Stretch(session, 0, len(session.turns), header))


def shown(sampler: Sampler, stretch: Stretch) -> list[str]:
    tokens, mask, _ = sampler.sample(stretch)
    assert mask is not None
    found: list[list[int]] = [[]]
    for token, one in zip(tokens.tolist(), mask, strict=True):
        if one:
            found[-1].append(token)
        elif found[-1]:
            found.append([])
    return [sampler._tokenizer.decode(one) for one in found if one]


def test_what_is_learned_ends_with_what_says_that_it_ends() -> None:
    session = plain("s", 2)
    assert learned(session, "therapist_utterance") == [f"s answers {n}\n</UTTERANCE>" for n in (1, 2)]
    assert learned(session, "client_reasoning", "client_utterance") == [
        words for n in (1, 2) for words in (f"s reasons {n}\n</CHAIN-OF-THOUGHT>", f"s says {n}\n</UTTERANCE>")
    ]
    assert (
        learned(session, "therapist_reasoning")
        == learned(session, "gco", "omo")
        == [words for n in (1, 2) for words in (f"s gco {n}\n</GCO>", f"s omo {n}\n</OMO>")]
    )


def test_words_of_a_factor_are_learned_with_anchors_and_without() -> None:
    session = one_span("<GCO>\nit was traffic, as ever", "traffic", kind="framework")
    assert learned(session, "framework") == ["traffic"]
    assert learned(session, "framework", anchors=True) == ["traffic</FAC:FRAMEWORK>"]
    shown = "\\<GCO>\nit was <FAC:FRAMEWORK>traffic</FAC:FRAMEWORK>, as ever\n</UTTERANCE>"
    assert learned(session, "client_utterance", anchors=True) == [shown]


def test_labels_are_learned_where_anchors_show_them() -> None:
    session = plain("s", 2).model_copy(
        update={"attachment_strategy": "A3", "session_phases": ("A", "B"), "strengths": ("wit", "loyalty")}
    )
    assert learned(session, "session_phases", "attachment_strategy", "strengths", anchors=True) == [
        "A</FAC:PHASE>", "B</FAC:PHASE>", "A3</FAC:ATTACH>", "wit</FAC:STRENGTH>", "loyalty</FAC:STRENGTH>",
    ]  # fmt: skip


def test_everything_that_a_text_holds_by_name_can_be_learned() -> None:
    assert set(get_args(Learnable)) == {*PLACES, "therapist_reasoning", *SPANS, *LABELS}


@quick
@given(labelled(), st.sets(st.sampled_from(PLACES)), st.data())
def test_components_are_learned_given_the_others(session: Session, learn: set[Any], data: st.DataObject) -> None:
    """Any set of them: each token is of one component at most, and learned where that one is."""
    windows = Windows([session])
    sample = windows[data.draw(st.integers(0, len(windows) - 1))]
    tokens, mask, each = Sampler(fakes.ByteTokenizer(), tuple(learn), False).sample(sample, components=True)
    assert mask is not None
    assert mask.tolist() == [any(each[name][i] for name in learn) for i in range(len(tokens))]
    assert all(sum(one) <= 1 for one in zip(*each.values(), strict=True))
    whole = Sampler(fakes.ByteTokenizer(), None, False).sample(sample)
    assert np.array_equal(whole.tokens, tokens)
    assert whole[1:] == (None, {})


@quick
@given(st.lists(st.booleans(), max_size=90), st.integers(2, 20))
def test_a_mask_is_cut_as_its_tokens_are(mask: list[bool], size: int) -> None:
    known = np.array(mask, np.bool_)
    for window in Sample(np.arange(len(mask), dtype=np.int32), known, {"omo": ~known}).windows(size):
        assert window.learned is not None
        assert window.tokens.dtype == np.int32
        assert np.array_equal(window.learned, known[window.tokens])
        assert np.array_equal(window.components["omo"], ~window.learned)


class Begun(fakes.ByteTokenizer):
    """A space before every text, as some tokenizers have it: of a text in parts, one before each."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return super().encode(f" {text}")


@pytest.mark.parametrize("kind", MADE)
def test_a_text_in_parts_has_the_tokens_and_masks_of_the_whole(kind: str) -> None:
    stretch = Stretch(plain("s", 3), 0, 3, FORWARD)
    found, whole = (
        Sampler(MADE[kind](), ("omo", "session_phases"), True, part).sample(stretch, components=True)
        for part in (40, 10**6)
    )
    assert np.array_equal(found.tokens, whole.tokens)
    assert found.tokens.dtype == np.int32
    assert found.learned is not None
    assert whole.learned is not None
    assert np.array_equal(found.learned, whole.learned)
    assert all(np.array_equal(mask, whole.components[name]) for name, mask in found.components.items())


def test_the_same_words_are_learned_where_a_part_has_a_token_of_its_own() -> None:
    stretch = Stretch(plain("s", 3), 0, 3, FORWARD)
    cut, whole = (Sampler(Begun(), ("therapist_utterance",), False, part) for part in (40, 10**6))
    assert len(cut.sample(stretch).tokens) == len(whole.sample(stretch).tokens) + 6  # the header, and six speakers
    assert np.array_equal(cut.sample(stretch).tokens, cut.tokens(stretch.text()))
    assert shown(cut, stretch) == shown(whole, stretch) == [f"s answers {n}\n</UTTERANCE>" for n in (1, 2, 3)]


MASKS = [[False] * 10, [True] * 10, [i % 3 == 0 for i in range(10)], [True] + [False] * 9]


@pytest.mark.parametrize("model_type", KINDS)
@pytest.mark.parametrize("recap", [0, 4])
def test_the_loss_is_the_mean_over_what_is_learned(model_type: str, recap: int) -> None:
    model = adapted(model_type)
    memory, _ = memory_of(model, TOKENS[:20], 4)
    window = Window(TOKENS[20 : 20 + recap], TOKENS[24:34])
    every = pass_window(model, memory, window).logp
    for mask in MASKS:
        passed = pass_window(model, memory, window._replace(learned=mask))
        chosen = [i for i, one in enumerate(mask if recap else mask[1:]) if one]
        assert passed.logp.shape == (len(chosen),)
        if chosen:
            assert mx.allclose(passed.logp, every[mx.array(chosen)], atol=1e-5)
            assert float(loss_of(passed)) == pytest.approx(-float(every[mx.array(chosen)].mean()), abs=1e-5)
        # The history does not depend on what is learned.
        kept = [
            history_of(model, memory, window, caches).items
            for caches in (passed.caches, pass_window(model, memory, window).caches)
        ]
        assert all(mx.array_equal(a.keys, b.keys) for a, b in zip(*kept, strict=True))


def gradients(model: nn.Module, memory: Any, window: Window) -> dict[str, mx.array]:
    found = dict(tree_flatten(nn.value_and_grad(model, lambda m: window_loss(m, memory, window))(model)[1]))
    assert all(mx.isfinite(a).all().item() for a in found.values())
    return found


def test_the_gradient_is_that_of_what_is_learned() -> None:
    """Of a mask and of the rest: weighted by their tokens they add up to that of all; of nothing it is zero."""
    model = adapted("llama")
    memory, _ = memory_of(model, TOKENS[:20], 4)
    window = Window(TOKENS[20:24], TOKENS[24:34])
    whole, none, every, some = (
        gradients(model, memory, window._replace(learned=mask)) for mask in (None, MASKS[0], MASKS[1], MASKS[2])
    )
    rest = gradients(model, memory, window._replace(learned=[not one for one in MASKS[2]]))
    for name, gradient in whole.items():
        assert mx.allclose(every[name], gradient, atol=1e-5)
        assert mx.allclose((4 * some[name] + 6 * rest[name]) / 10, gradient, atol=1e-5)
        assert float(mx.abs(none[name]).max()) == 0.0
    assert any(not mx.allclose(some[name], whole[name], atol=1e-4) for name in whole)


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="found a mask of 2 for 3 content tokens"):
        pass_window(adapted("llama"), None, Window([], TOKENS[:3], [True, False]))


def masked(folder: Path, *learn: Learnable, anchors: bool = False, **run_part: Any) -> DaptSettings:
    """Short windows, so that some hold nothing of one component."""
    made = told(folder, **run_part)
    corpus = made.corpus.model_copy(update={"learn": learn or None, "anchors": anchors})
    return made.model_copy(update={"corpus": corpus, "window": WindowPart(size=60, slots=8, recap_tokens=4)})


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> DaptTrainer:
    return run(masked(tmp_path_factory.mktemp("answers"), "therapist_utterance"))


def test_a_window_of_which_nothing_is_learned_is_read_all_the_same(answers: DaptTrainer) -> None:
    lines = log(answers)
    given_windows = [line for line in lines if line["learned"] == 0]
    assert 0 < len(given_windows) < len(lines)
    assert all((line["loss"] is None) == (line["learned"] == 0) for line in lines)
    assert all(line["recap"] is not None for line in given_windows if line["window"] < line["of"])
    assert all(line["reconstruction"] is not None for line in given_windows if line["gate"][1] > 0)
    assert all(line["norm"] is None for line in given_windows)
    for step in log(answers, STEPS):
        mine = [one for one in lines if one["step"] == step["step"] and one["learned"]]
        assert step["tokens"] == sum(one["learned"] for one in mine)
        assert step["loss"] == pytest.approx(sum(one["learned"] * one["loss"] for one in mine) / step["tokens"])
    summary = json.loads((answers.folder / "summary.json").read_text())
    assert summary["given"] == len(given_windows)
    assert summary["refused"] == 0
    assert "nothing is learned from it" in _line({**given_windows[0], "seconds": 1.0})
    assert "; of what is learned " in _looked(summary["looks"][0])
    assert "therapist_utterance " in _looked(summary["looks"][0])
    page = write_report(answers.folder.path).read_text()
    assert f"{len(given_windows)} window(s) all given" in page
    assert "<th class=n>learned</th><th class=n>client_reasoning</th>" in page
    assert "refused" not in page


def test_each_run_is_the_better_one_at_what_it_learns(tmp_path: Path) -> None:
    names: list[Learnable] = ["therapist_utterance", "client_reasoning"]
    looks = []
    for name in names:
        made = masked(tmp_path, name, steps=6)
        looks.append(
            run(made.model_copy(update={"window": WindowPart(size=60, slots=8, recap_tokens=0)})).progress.looks
        )
    for (first, last), name in zip(looks, names, strict=True):
        assert set(first["components"]) == set(PLACES)
        assert first["learned"] == pytest.approx(first["components"][name])
        assert last["learned"] < first["learned"]
    spoken, thought = ([one[-1]["components"][name] for one in looks] for name in names)
    assert spoken[0] < spoken[1]
    assert thought[1] < thought[0]


@pytest.mark.parametrize("stop", [1, 4])
def test_a_masked_run_goes_on_exactly(answers: DaptTrainer, tmp_path: Path, stop: int) -> None:
    stopped = run(masked(tmp_path, "therapist_utterance"), stop_after=stop)
    again = run(masked(tmp_path, "therapist_utterance"), folder=RunFolder.existing(stopped.folder.path))
    assert logs(again) == logs(answers)
    assert again.progress == answers.progress
    weights = "adapters/adapters.safetensors"
    assert (again.folder / weights).read_bytes() == (answers.folder / weights).read_bytes()


def test_the_mean_is_over_all_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1/N Σ_n ∇L(W_n) (paper 299): a window of which nothing is learned is one of N."""
    seen: list[Any] = []
    monkeypatch.setattr("dapt.trainer.take_step", lambda model, optimizer, grads, norms, clip: seen.append(grads))
    made = masked(tmp_path, "therapist_utterance", steps=1)
    still = OptimizerPart(compressor_share=1e-12)
    made = made.model_copy(update={"optimizer": still, "window": made.window.model_copy(update={"recap_tokens": 0})})
    trained = run(made)
    model, compressor = trained.loaded.model, Compressor(cache_shapes(trained.loaded.model))
    sample = trained.sampler.sample(trained.curriculum[trained.sample(0)])
    assert sample.learned is not None
    memory, total, windows = None, dict[str, mx.array](), sample.windows(60)
    for tokens, mask, _ in windows:
        assert mask is not None
        window = Window([], tokens.tolist(), mask.tolist())
        found = gradients(model, memory, window)
        total = {name: total[name] + g if total else g for name, g in found.items()}
        memory = compressed(
            model, compressor, history_of(model, memory, window, pass_window(model, memory, window).caches), 8
        )
    assert not all(one.learned.any() for one in windows if one.learned is not None)
    for name, gradient in flatten(seen[0]).items():
        assert mx.allclose(gradient, total[name] / len(windows), atol=1e-5)


def test_held_out_losses_by_component_add_up() -> None:
    loaded = fakes.tiny_llama(layers=3)
    compressor = Compressor(cache_shapes(loaded.model))
    sampler = Sampler(loaded.tokenizer, ("omo", "framework"), False)
    sample = sampler.sample(Stretch(plain("s", 2), 0, 2, FORWARD), components=True)
    part = WindowPart(size=64, slots=4)
    found = held_out_losses(loaded, compressor, [sample, sample], part)
    contents = [one.tokens.tolist() for one in sample.windows(64)]
    logp = [value for read in read_on(loaded, compressor, contents, 4) for value in read.logp.tolist()]
    assert found["loss"] == pytest.approx(-np.mean(logp), rel=1e-6)
    assert found["learned"] == pytest.approx(found["components"]["omo"])
    marks = ~np.any(list(sample.components.values()), axis=0)
    rest = held_out_losses(loaded, compressor, [sample._replace(components={"marks": marks})], part)["components"]
    scored = {i for i in range(len(sample.tokens)) if i % 64}
    sizes = {name: sum(mask[i] for i in scored) for name, mask in {**sample.components, "marks": marks}.items()}
    assert sum(sizes.values()) == len(logp)
    whole = sum({**found["components"], **rest}[name] * size for name, size in sizes.items())
    assert whole / len(logp) == pytest.approx(found["loss"], rel=1e-6)
    assert held_out_losses(loaded, compressor, [], part) == {}


def test_the_held_out_loss_of_a_component_is_that_of_its_tokens() -> None:
    loaded = fakes.tiny_llama(layers=3)
    sample = Sampler(loaded.tokenizer, None, False).sample(Stretch(plain("s", 1), 0, 1, FORWARD), components=True)
    found = held_out_losses(loaded, Compressor(cache_shapes(loaded.model)), [sample], WindowPart(size=1000))
    logp = pass_window(loaded.model, None, Window([], sample.tokens.tolist())).logp.tolist()
    assert set(found) == {"loss", "components"}
    for name, mask in sample.components.items():
        chosen = [one for one, inside in zip(logp, mask[1:], strict=True) if inside]
        assert found["components"][name] == pytest.approx(-sum(chosen) / len(chosen), rel=1e-5)


def test_a_run_with_anchors_learns_labels_too(tmp_path: Path) -> None:
    sessions = [
        one_span("it was traffic", "traffic").model_copy(update={"id": f"s{i}", "attachment_strategy": "A3"})
        for i in range(3)
    ]
    write_sessions(tmp_path / "sessions.jsonl", sessions)
    made = run(masked(tmp_path, "attachment_strategy", "insight", anchors=True, steps=2))
    assert sum(line["learned"] for line in log(made)) > 0
    assert made.progress.bad == 0
    assert made.progress.looks[-1]["learned"] < made.progress.looks[0]["learned"]


def test_what_is_watched_is_read_as_what_is_learned(tmp_path: Path) -> None:
    """With anchors where the run has them, from the first token of a session on."""
    session = one_span("it was traffic", "traffic", kind="framework")
    write_sessions(tmp_path / "sessions.jsonl", [session.model_copy(update={"id": f"s{i}"}) for i in range(3)])
    for anchors in (True, False):
        made = DaptTrainer(fakes.tiny_llama(layers=3), masked(tmp_path, "framework", anchors=anchors))
        (windows,) = made._watched
        text = made.loaded.tokenizer.decode([token for one in windows for token in one])
        assert len(windows) == 3
        assert Stretch(made.held_out[0], 0, 1, UHD).text(anchors).startswith(text)


class Silent(Ranks):
    """One of two ranks, of which neither has learned anything."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 2

    def any(self, said: bool) -> bool:
        return said


@pytest.mark.parametrize("ranks", [Ranks(), Silent()])
def test_a_sample_of_which_nothing_is_learned_moves_nothing(answers: DaptTrainer, tmp_path: Path, ranks: Ranks) -> None:
    """Though Adam has moments of the steps before it."""
    made = DaptTrainer(fakes.tiny_llama(layers=3), masked(tmp_path, "omo"))
    made.begin()
    made._read(0, 0, made.sampler.sample(made.curriculum[0]).windows(10**6))
    made._step(0, 1)
    before = tree_hash(trainable(made.loaded.model))
    made.ranks = ranks
    made._step(0, 1)
    made.close()
    assert [line["applied"] for line in log(made, STEPS)] == [True, False]
    assert tree_hash(trainable(made.loaded.model)) == before
    assert made.progress.bad == 0


def test_all_that_no_session_holds_and_no_text_can_show_is_told_at_once(tmp_path: Path) -> None:
    crossing, twice = one_span("a b c", "a b", "b c"), one_span("no, no", "no").model_copy(update={"id": "t"})
    write_sessions(tmp_path / "sessions.jsonl", [crossing, twice])
    with pytest.raises(SessionFileError) as error:
        DaptTrainer(fakes.tiny_llama(layers=3), masked(tmp_path, "framework", "school", "insight", anchors=True))
    problems = error.value.problems
    assert len(problems) == 4
    assert all(problem.startswith(f"{tmp_path / 'sessions.jsonl'}: ") for problem in problems)
    for part in ("session 's', turn 1, client_utterance: found spans that cross", "session 't', turn 1, spans.0",
                 "corpus.learn: found framework", "corpus.learn: found school"):  # fmt: skip
        assert any(part in problem for problem in problems)
    # What cannot be shown is no mistake where nothing is to be shown.
    DaptTrainer(fakes.tiny_llama(layers=3), masked(tmp_path, "omo"))


@pytest.mark.parametrize(
    ("line", "told_of"),
    [
        (
            'learn = ["school", "omo"]',
            "learn: found school, which no text shows without anchors; set anchors = true",
        ),
        ("learn = []", "corpus.learn"),
        ('learn = ["omo", "therapist"]', "corpus.learn.1: Input should be 'client_reasoning'"),
    ],
)
def test_settings_that_cannot_be_learned_are_told(tmp_path: Path, line: str, told_of: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(f"[corpus]\nsessions = 'configs/sessions'\n{line}\n")
    with pytest.raises(DaptSettingsError, match="1 setting") as error:
        read_dapt_settings(path)
    assert told_of in str(error.value)


def test_settings_come_back_from_their_file(tmp_path: Path) -> None:
    part = CorpusPart(sessions="x", learn=("omo", "school"), anchors=True)
    path = tmp_path / "run.toml"
    path.write_text(DaptSettings(corpus=part).to_toml())
    assert read_dapt_settings(path).corpus == part
    assert read_dapt_settings("configs/dapt_quickstart.toml").corpus.learn is None
