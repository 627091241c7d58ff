"""Icarus in other libraries' forms: each says the same session as SessionEnv. A library that is absent skips its tests."""

import asyncio
import importlib
import importlib.machinery
import json
import sys
import warnings
from contextlib import asynccontextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium.error import InvalidAction
from gymnasium.utils.env_checker import data_equivalence

from client_graph.catalog import load_catalog
from envs.adapters.trl import OVER, TherapyTool, part_reward, rows
from envs.session import SessionEnv
from envs.types import JudgeFailed
from envs.voice import AuthoredVoice
from judges.protocol import Exchange, JudgeFailure
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
needs_pettingzoo = pytest.mark.skipif(find_spec("pettingzoo") is None, reason="pettingzoo is not installed (an extra)")
needs_verifiers = pytest.mark.skipif(find_spec("verifiers") is None, reason="verifiers is not installed (an extra)")


def by_words(exchange: Exchange) -> list[float]:
    """Scores from both sides' words and the turn."""
    spoken = len(exchange.therapist) + 3 * len(exchange.client)
    return [float((spoken + len(exchange.history) + d) % 11) for d in range(12)]


def settings(script: Any = by_words, **more: Any) -> dict[str, Any]:
    return {"judge": ScriptedJudge(script), "catalog": CATALOG, **more}


REPLIES = ("Go on.", "<think>He is afraid.</think>I am here.", "", "What was that like?", "Take your time.")


@pytest.mark.parametrize(
    ("module", "library"), [("envs.adapters.pettingzoo", "pettingzoo"), ("envs.adapters.verifiers", "verifiers.v1")]
)
def test_an_absent_library_is_named_with_what_to_install(
    module: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=r"pip install 'icarus-tbn\[(pettingzoo|verifiers)\]'"):
        importlib.import_module(module)


# PettingZoo


def two_agents(**more: Any) -> Any:
    from envs.adapters.pettingzoo import TherapyAEC

    return TherapyAEC(**settings(**more))


@needs_pettingzoo
def test_pettingzoo_checks_the_two_agents() -> None:
    from pettingzoo.test import api_test, seed_test

    from envs.adapters.pettingzoo import env

    make = lambda: env(render_mode="ansi", **settings())  # noqa: E731
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an observation of text is no array, that two roles differ
        api_test(make(), num_cycles=100)
        seed_test(make, num_cycles=60)


@needs_pettingzoo
@pytest.mark.parametrize("max_turns", [3, 20])
def test_a_client_agent_that_says_what_the_voice_would_say_makes_the_same_session(max_turns: int) -> None:
    voice = AuthoredVoice(CATALOG)
    alone, env = SessionEnv(**settings(max_turns=max_turns)), two_agents(max_turns=max_turns)
    for episode in range(2):
        seed = 4 if episode == 0 else None
        observation, info = alone.reset(seed=seed)
        env.reset(seed=seed)
        reward, over, turn = 0.0, (False, False), 0
        for agent in env.agent_iter():
            seen, gained, *done, told = env.last()
            if agent == "client":
                if any(done):
                    env.step(None)
                    continue
                words = voice.speak([env.speaking_turn])[0]
                assert np.array_equal(seen["truth"]["levels"], info["levels"])
                assert env.observation_space("client").contains(seen)
                env.step(f"<think>{words.reasoning}</think>{words.text}")
                continue
            assert data_equivalence(seen, observation, exact=True)
            assert gained == reward
            assert tuple(done) == over
            assert told["client_reasoning"] == info["client_reasoning"]
            assert told.get("reward_parts") == info.get("reward_parts")
            if any(done):
                env.step(None)
                continue
            reply = REPLIES[turn % len(REPLIES)]
            env.step(reply)
            observation, reward, *over, info = alone.step(reply)
            over, turn = tuple(over), turn + 1
        assert any(over)
        assert env.agents == []
        assert env.session_env.history == alone.history


@needs_pettingzoo
def test_the_client_hears_the_reply_and_the_judge_reads_the_clients_words() -> None:
    read: list[str] = []

    def script(exchange: Exchange) -> float:
        read.append(exchange.client)
        return 6.0

    env = two_agents(script=script, client_reward="shared")
    env.reset(seed=1, options={"stage": 2})
    assert env.agent_selection == "client"
    assert env.observe("client")["therapist"] == ""
    assert env.infos["client"]["moment"] == "opening"
    env.step("<think>Not yet.</think>I do not know where to begin.")
    assert env.observe("therapist")["client"] == "I do not know where to begin."
    assert env.session_env.snapshot().session.reasoning == "Not yet."
    assert env.observe("therapist")["stage"] == 2
    before = env.state()
    env.step("<think>Slowly.</think>There is no hurry.")
    assert read == ["I do not know where to begin."]
    assert env.observe("client")["therapist"] == "There is no hurry."
    assert not np.array_equal(env.state(), before)
    assert env.rewards["client"] == env.rewards["therapist"] == sum(env.infos["therapist"]["reward_parts"].values())


@needs_pettingzoo
@pytest.mark.parametrize("speaker", ["client", "therapist"])
@pytest.mark.parametrize("action", [None, 3, "a \0 inside", "x" * 8_001], ids=["None", "int", "NUL", "8001"])
def test_what_nobody_can_say_is_refused_and_it_stays_their_turn(speaker: str, action: Any) -> None:
    env = two_agents()
    env.reset(seed=1)
    if speaker == "therapist":
        env.step("Hello.")
    before = env.session_env.snapshot().session, dict(env._cumulative_rewards)
    with pytest.raises(InvalidAction):
        env.step(action)
    assert env.agent_selection == speaker
    after = env.session_env.snapshot().session
    assert (after.words, after.history, dict(env._cumulative_rewards)) == (
        before[0].words,
        before[0].history,
        before[1],
    )
    assert after.state.same_as(before[0].state)
    env.step("Still here.")


@needs_pettingzoo
def test_a_judge_that_fails_leaves_both_agents_where_they_were() -> None:
    env = two_agents(script=[JudgeFailure("busy"), 6.0], judge_retries=0)
    env.reset(seed=1)
    env.step("Hello.")
    before = env.state()
    with pytest.raises(JudgeFailed, match="busy"):
        env.step("Hello to you.")
    assert env.agent_selection == "therapist"
    assert np.array_equal(env.state(), before)
    env.step("Hello to you.")
    assert (env.agent_selection, env.rewards["client"]) == ("client", 0.0)


@needs_pettingzoo
def test_settings_and_options_that_have_no_meaning_are_named() -> None:
    with pytest.raises(ValueError, match="client_reward"):
        two_agents(client_reward="adversarial")
    with pytest.raises(ValueError, match="render_mode"):
        two_agents(render_mode="human")
    from envs.adapters.pettingzoo import env as checked

    for make in (two_agents, checked):
        with pytest.raises(TypeError, match=r"found client 'authored'; expected none"):
            make(client="authored")
    env = two_agents()
    with pytest.warns(UserWarning, match=r"\['mood'\], ignored"):
        env.reset(seed=1, options={"mood": "good"})
    with pytest.raises(ValueError, match="stage"):
        env.reset(seed=1, options={"stage": 7})


# TRL: nothing of TRL is needed for its form


def test_a_tool_session_is_the_session_and_its_reward_the_sum() -> None:
    alone, tool = SessionEnv(**settings(max_turns=3)), TherapyTool(**settings(max_turns=3))
    row = rows([5], stage=2)[0]
    for _ in range(2):
        observation, _ = alone.reset(seed=5, options={"stage": 2})
        assert tool.reset(**row) == observation["client"]
        assert (tool.get_reward(), tool.turns) == (0.0, 0)
        total = 0.0
        for words in REPLIES[:3]:
            observation, reward, _, over, info = alone.step(words)
            total += reward
            assert tool.say(words) == observation["client"] + (OVER if over else "")
            assert tool.get_reward() == pytest.approx(total, abs=1e-9)
        assert (tool.turns, tool.ending) == (3, info["ending"])
        assert [part_reward(name)([tool])[0] for name in tool.parts] == list(tool.parts.values())
        assert sum(tool.parts.values()) == tool.get_reward()
        with pytest.raises(ValueError, match="session is over"):
            tool.say("One more thing.")


def test_a_failed_judge_is_no_score() -> None:
    tool = TherapyTool(**settings([7.0, *[JudgeFailure("unreadable")] * 2, 7.0]))
    tool.reset(seed=0)
    tool.say("Go on.")
    with pytest.raises(JudgeFailed, match="unreadable"):
        tool.say("And then?")
    assert tool.get_reward() is None
    assert part_reward("composite")([tool]) == [None]
    with pytest.raises(ValueError, match="session is over"):
        tool.say("And then?")
    tool.reset(seed=0)
    tool.say("Go on.")
    assert tool.get_reward() > 0.0


def test_a_judge_that_raises_is_no_score_either() -> None:
    tool = TherapyTool(**settings([7.0]))
    tool.reset(seed=0)
    tool.say("Go on.")
    with pytest.raises(IndexError):
        tool.say("And then?")
    assert tool.get_reward() is None


def test_what_a_tool_may_not_be_asked() -> None:
    tool = TherapyTool(**settings())
    with pytest.raises(ValueError, match="expected a seed"):
        tool.reset(prompt="Hello.")
    with pytest.raises(ValueError, match="stage"):
        tool.reset(seed=1, stage=9)
    tool.reset(seed=1)
    with pytest.raises(InvalidAction):
        tool.say("x" * 8_001)
    assert (tool.turns, tool.get_reward()) == (0, 0.0)
    with pytest.raises(ValueError, match="reward part"):
        part_reward("warmth")
    with pytest.raises(ValueError, match="mood"):
        rows([1], mood="good")


def test_trl_trains_on_it(tmp_path: Path) -> None:
    trl = pytest.importorskip("trl", reason="trl is not installed (an extra)")
    from datasets import Dataset
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocab=letters, merges=[]))
    plain.pre_tokenizer, plain.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    marks = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
    tags = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=marks[1], pad_token=marks[2])
    tokenizer.add_special_tokens({"additional_special_tokens": marks[:1]})
    tokenizer.add_tokens(tags)
    template = find_spec("trl").submodule_search_locations[0] + "/chat_templates/qwen3.jinja"
    with open(template, encoding="utf-8") as file:
        tokenizer.chat_template = file.read()
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Qwen3Config(
        vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=8, max_position_embeddings=8192, **small
    )

    class Scripted(trl.GRPOTrainer):
        """Says lines in the form of tool calls instead of sampling: what is tested is our side."""

        said = 0

        def _generate_single_turn(self, prompt_ids: Any, *_: Any, **__: Any) -> Any:
            texts = []
            for _ in prompt_ids:
                self.said += 1
                call = json.dumps({"name": "say", "arguments": {"words": "I hear you. " * (self.said % 5)}})
                texts.append(f"<tool_call>\n{call}\n</tool_call><|im_end|>" if self.said <= 8 else "Goodbye.<|im_end|>")
            return [tokenizer.encode(text, add_special_tokens=False) for text in texts], None

    trainer = Scripted(
        model=Qwen3ForCausalLM(config),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows([1, 1])),
        reward_funcs=[part_reward("composite")],
        environment_factory=partial(TherapyTool, **settings(max_turns=4)),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=4, num_generations=4, report_to=[],
            max_completion_length=6000, save_strategy="no", use_cpu=True, logging_steps=1, reward_weights=[0.0],
        ),
    )  # fmt: skip
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    logged = trainer.state.log_history[0]
    tools = trainer.environments
    assert [tool.turns for tool in tools] == [2, 2, 2, 2]
    assert logged["rewards/TherapyTool/mean"] == pytest.approx(np.mean([tool.get_reward() for tool in tools]), rel=1e-4)
    assert logged["rewards/composite/mean"] == pytest.approx(
        np.mean([tool.parts["composite"] for tool in tools]), rel=1e-4
    )
    assert logged["tools/failure_frequency"] == 0.0
    assert len({tool.get_reward() for tool in tools}) > 1
    assert any(not (a == b).all() for a, b in zip(before, trainer.model.parameters(), strict=True))


# verifiers


def therapy_module(monkeypatch: pytest.MonkeyPatch, **more: Any) -> Any:
    """What a user's own icarus_session.py holds."""
    from envs.adapters import verifiers

    class ScriptedTherapy(verifiers.TherapyEnv):
        def session(self) -> SessionEnv:
            return SessionEnv(**settings(max_turns=self.config.max_turns, **more))

    module = ModuleType("icarus_session")
    module.__spec__ = importlib.machinery.ModuleSpec("icarus_session", None)
    module.TherapyEnv, module.TherapyTaskset = ScriptedTherapy, verifiers.TherapyTaskset
    module.__all__ = ["TherapyEnv", "TherapyTaskset"]
    monkeypatch.setitem(sys.modules, "icarus_session", module)
    return module


class Trace:
    """As much of a verifiers trace as an environment writes to."""

    def __init__(self) -> None:
        self.rewards: dict[str, float] = {}
        self.metrics: dict[str, float] = {}
        self.info: dict[str, Any] = {}

    def record_reward(self, name: str, value: float, weight: float) -> None:
        self.rewards[name] = value * weight

    def record_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value


class ScriptedTherapist:
    """An agent whose interaction answers with REPLIES, and stops after `patience` of them."""

    def __init__(self, patience: int = 99) -> None:
        self.patience, self.heard, self.trace = patience, [], Trace()

    @asynccontextmanager
    async def interaction(self, task: Any) -> Any:
        yield self

    async def turn(self, words: str) -> Any:
        self.heard.append(words)
        over = len(self.heard) > self.patience
        return SimpleNamespace(terminated=over, last_reply=REPLIES[(len(self.heard) - 1) % len(REPLIES)])


def verifiers_session(
    monkeypatch: pytest.MonkeyPatch, patience: int = 99, **more: Any
) -> tuple[Any, ScriptedTherapist]:
    import verifiers.v1 as vf

    therapy_module(monkeypatch, **more)
    taskset = {"id": "icarus_session", "first_seed": 3, "stage": 2}
    env = vf.load_environment(vf.env_config_type("icarus_session").model_validate({"taskset": taskset, "max_turns": 3}))
    task = next(iter(env.taskset))
    therapist = ScriptedTherapist(patience)
    asyncio.run(env.run(task, SimpleNamespace(therapist=therapist)))
    return task, therapist


@needs_verifiers
def test_a_verifiers_episode_is_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    task, therapist = verifiers_session(monkeypatch)
    assert (task.data.prompt, task.data.seed, task.data.wishes) == (None, 3, {"stage": 2})
    alone = SessionEnv(**settings(max_turns=3))
    words = [alone.reset(seed=3, options={"stage": 2})[0]["client"]]
    parts: dict[str, float] = {}
    for reply in REPLIES[:3]:
        observation, _, _, _, info = alone.step(reply)
        words.append(observation["client"])
        parts = {name: parts.get(name, 0.0) + points for name, points in info["reward_parts"].items()}
    trace = therapist.trace
    assert therapist.heard == words[:-1]
    assert trace.rewards == parts
    assert trace.metrics == {"turns": 3.0}
    assert trace.info == {"ending": info["ending"], "last_words": words[-1]}


@needs_verifiers
def test_an_exchange_that_its_agent_cuts_short_keeps_what_it_earned(monkeypatch: pytest.MonkeyPatch) -> None:
    _, therapist = verifiers_session(monkeypatch, patience=1)
    assert therapist.trace.metrics == {"turns": 1.0}
    assert therapist.trace.info["ending"] is None
    assert therapist.trace.rewards["composite"] > 0.0


@needs_verifiers
def test_a_failed_judge_fails_the_verifiers_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(JudgeFailed, match="unreadable"):
        verifiers_session(monkeypatch, script=lambda _: JudgeFailure("unreadable"))


@needs_verifiers
def test_verifiers_runs_a_whole_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own rollout, interception and trace; the model is a server on this machine that says lines."""
    import httpx
    import verifiers.v1 as vf
    from aiohttp import web
    from verifiers.v1.dialects.chat import message_to_wire

    class InProcess(vf.Harness[vf.HarnessConfig]):
        """A chat program without a process: one model call a segment."""

        APPENDS_SYSTEM_PROMPT = SUPPORTS_RESUME = True
        EXECUTES_CODE = NEEDS_CONTAINER = False

        async def launch(
            self, ctx: Any, trace: Any, runtime: Any, endpoint: str, secret: str, mcp_urls: Any, data: Any
        ) -> Any:
            system, prompt = self.resolve_prompt(data)
            messages = [{"role": "system", "content": system}, *(message_to_wire(message) for message in prompt)]
            async with httpx.AsyncClient(base_url=endpoint, headers={"Authorization": f"Bearer {secret}"}) as client:
                answer = await client.post("chat/completions", json={"model": ctx.model, "messages": messages})
            answer.raise_for_status()
            return vf.ProgramResult(exit_code=0, stdout="", stderr="")

    asked: list[list[dict[str, str]]] = []

    async def complete(request: Any) -> Any:
        body = await request.json()
        asked.append(body["messages"])
        line = REPLIES[sum(message["role"] == "assistant" for message in body["messages"])] or "Mm."
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": line}}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
        )

    async def episode() -> Any:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        therapist = {"harness": {"id": "icarus_session"}, "runtime": {"type": "subprocess"}}
        env = vf.load_environment(
            vf.env_config_type("icarus_session").model_validate(
                {"taskset": {"id": "icarus_session", "first_seed": 3}, "max_turns": 3, "therapist": therapist}
            )
        )
        try:
            async with env.serving():
                context = vf.ModelContext("lines", vf.EvalClientConfig(base_url=address, api_key_var="NO_KEY"))
                return await env.run_episode(next(iter(env.taskset)), context)
        finally:
            await runner.cleanup()

    module = therapy_module(monkeypatch)
    module.InProcess = InProcess
    module.__all__.append("InProcess")
    found = asyncio.run(episode())
    assert (found.ok, found.errors) == (True, [])
    alone = SessionEnv(**settings(max_turns=3))
    heard, total = [alone.reset(seed=3)[0]["client"]], 0.0
    for reply in ("Go on.", "<think>He is afraid.</think>I am here.", "Mm."):
        observation, reward, _, _, info = alone.step(reply)
        heard.append(observation["client"])
        total += reward
    (trace,) = found.traces
    assert [messages[-1] for messages in asked] == [{"role": "user", "content": words} for words in heard[:-1]]
    assert [len(messages) for messages in asked] == [2, 4, 6]
    assert trace.reward == pytest.approx(total, abs=1e-9)
    assert trace.info["ending"] == info["ending"] == "turn_limit"
    assert trace.info["last_words"] == heard[-1]
