"""The settings of a run: one home for each, read from TOML; all mistakes of a file in one error."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.lm.lora import LoraSettings
from client_graph.settings import ClientSettings
from judges.api.settings import AnthropicJudgeConfig
from judges.memory import FEWEST
from rewards.settings import RewardSettings

Temperature = Annotated[float, Field(ge=0, le=0.9)]


class SettingsError(ValueError):
    """A settings file that cannot be used; the message lists every mistake in it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


class RunPart(_Section):
    """How long a run is and where it writes."""

    method: Literal["sft", "A", "B", "C"] = Field(
        "C",
        description="How it is trained: fine-tuning on sessions, DPO on their preferences (A: in sessions, B: through the whole "
        "curriculum), or self-play with RLAIF and GRPO (C; paper 433-438).",
    )
    folder: str = Field("runs", description="Folder in which each run makes its own folder.")
    name: str = Field("tbn", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="First part of the run folder's name.")
    seed: int = Field(0, ge=0, description="Everything that is drawn in a run follows from it.")
    sessions: int = Field(3, ge=1, description="Sessions of therapy to train on.")
    sessions_per_client: int = Field(
        1, ge=1, description="Sessions in a row with one client before the next one comes."
    )
    turn_attempts: int = Field(
        2, ge=1, description="Replies tried where the judge gives no score, before the session is cut short."
    )
    stop_after_unfinished: int = Field(
        3, ge=1, description="Sessions cut short in a row before the run pauses with the reason."
    )
    checkpoint_every: int = Field(
        5, ge=1, description="Turns between checkpoints; one is also written when a run stops."
    )
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints that are kept, beside the best one.")
    probe_every: int = Field(
        0,
        ge=0,
        description="Turns (method C) or steps between looks at the held-out clients or sessions, by which the best checkpoint is "
        "known; 0: only at the start and the end.",
    )


class ModelPart(_Section):
    """The one base model and the adapters that roles begin with."""

    name: str = Field("smollm2", description='"smollm2" (embedded), a model folder, or a hub name that mlx-lm takes.')
    adapter: str | None = Field(
        None, description="Adapter folder that therapist and frozen set begin with; none: the base."
    )


class EnvironmentPart(_Section):
    """The session that the trainer steps: arguments of icarus/Session-v0."""

    catalog: str | None = Field(
        None,
        min_length=1,
        description="Folder of client tables, from the working directory as every path here; none: configs/client.",
    )
    stage: int | None = Field(None, ge=1, le=4, description="Treatment stage of every client; none: drawn 35/45/20/0.")
    max_turns: int = Field(20, ge=1, description="Turns of a session (DESIGN section 2).")
    judge: Literal["embedding", "reading", "self", "anthropic"] = Field(
        "embedding",
        description="Offline embedding judge, the same held against what the base reads, the frozen model itself (for models that "
        "can judge), or a model behind an API.",
    )
    anthropic: AnthropicJudgeConfig = Field(
        AnthropicJudgeConfig(), description="Model, budget and deadlines of the judge behind the API."
    )
    least_logprob: float | None = Field(
        None,
        description="Mean nats a token below which the frozen base says that a reply is hardly language, which costs like a "
        "violation; none: not asked. To be measured for each base (benchmarks/judge_likelihood.py).",
    )
    memory: int | None = Field(
        None,
        ge=FEWEST + 1,
        description="How many of the clients' last lines are remembered with what was replied, so that a frame into which every "
        "client is put costs like a violation; none: nothing is remembered.",
    )
    client: Literal["authored", "chosen", "written"] = Field(
        "chosen",
        description="How the client speaks: authored lines drawn at random, authored lines chosen by the frozen model as "
        "the likeliest answer, or written by the frozen model (for models that can).",
    )


class GenerationPart(_Section):
    """How the therapist speaks."""

    max_tokens: int = Field(40, ge=1, description="Longest reply, in tokens.")
    temperature: float = Field(0.7, ge=0, description="Of the reply that the client hears (paper 421).")
    min_p: float = Field(
        0.1, ge=0, le=1, description="Drops tokens below this share of the likeliest one's probability."
    )
    top_p: float = Field(1.0, gt=0, le=1, description="Keeps the likeliest tokens up to this mass.")
    remembered_turns: int = Field(3, ge=0, description="Past turns of the session in the therapist's prompt.")
    beliefs_shown: int = Field(
        2, ge=0, description="How many of the therapist's own strongest beliefs its prompt names."
    )


class CorpusPart(_Section):
    """Sessions to learn from, for fine-tuning and DPO."""

    sessions: str | None = Field(
        None,
        min_length=1,
        description="Sessions of 5-tuples: a JSON-lines file, or a folder of JSON files; none: those that ship.",
    )
    held_out: int = Field(4, ge=0, description="Sessions that are not learned from and tell what was learned.")
    shared_by: int = Field(
        8, ge=1, description="Replies a step at most; replies of one step share their system message."
    )


class SftPart(_Section):
    """Fine-tuning on the therapist's words; before A, B and C it makes the adapters that they begin with."""

    epochs: int = Field(0, ge=0, description="Times through the sessions; 0 leaves the fine-tuning out.")
    learning_rate: float = Field(1e-4, gt=0, description="Of Adam; the paper fine-tunes before it reinforces.")


class DpoPart(_Section):
    """Methods A and B: direct preference optimisation (paper 436-437 gives no numbers)."""

    epochs: int = Field(1, ge=1, description="Times through the preferences.")
    learning_rate: float = Field(5e-6, gt=0, description="Of Adam; the usual order for DPO.")
    beta: float = Field(0.1, gt=0, description="Sharpness of the preference (Rafailov et al. 2023).")
    length_normalised: bool = Field(False, description="Mean instead of summed log-probabilities.")
    longest_window: int = Field(6, ge=1, description="Method B: turns of the longest ADWC window.")


class RlaifPart(_Section):
    """The first step of a turn: toward a corrected reply (paper 416-423)."""

    weight: float = Field(0.4, ge=0, description="Scale of the gradient (paper 452); 0 leaves the step out.")
    beta: float = Field(0.1, gt=0, description="Sharpness of the preference (paper 422 gives no number).")
    temperature: float = Field(0.5, ge=0, description="Of the corrected reply (paper 421).")
    length_normalised: bool = Field(False, description="Mean instead of summed log-probabilities (the paper sums).")
    only_if_better: bool = Field(
        True, description="Skip the step unless the judge scores the correction above the reply; the paper never skips."
    )


class GrpoPart(_Section):
    """The second step of a turn: toward the better of K candidates (paper 424-431)."""

    weight: float = Field(0.6, ge=0, description="Scale of the gradient (paper 452); 0 leaves the step out.")
    temperatures: tuple[Temperature, ...] = Field(
        (0.6, 0.7, 0.8, 0.9),
        min_length=2,
        description="One candidate each, at most 0.9: above, models garble (paper 427).",
    )
    kl_weight: float = Field(0.02, ge=0, description="λ_KL (the paper gives no number).")
    kl_estimator: Literal["paper", "k2", "k3"] = Field(
        "k3", description="How the divergence is estimated (agents/losses.py)."
    )
    length_normalised: bool = Field(False, description="Mean instead of summed log-probabilities (the paper sums).")
    advantage: Literal["z-score", "centred"] = Field(
        "z-score",
        description="The score less the group's mean, over its deviation (paper 429), or not: dividing blows small differences up "
        "(Liu et al. 2025).",
    )
    drop_equal: bool = Field(
        False, description="No step where all scores are equal; the paper's still pulls toward the reference."
    )
    iterations: int = Field(1, ge=1, description="Optimizer steps on one group; the paper takes one.")
    clip_ratio: tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=0)]] | None = Field(
        None,
        description="How far below and above 1 a token's probability ratio to the policy that spoke still counts (0.2 and 0.28 are "
        "common); none: no ratio, as in the paper.",
    )
    score: Literal["composite", "reward"] = Field(
        "composite",
        description="What ranks candidates: the stage-weighted composite (paper 428) less what violations cost, or the whole "
        "reward.",
    )


class OptimizerPart(_Section):
    """Adam on the therapist's adapters (paper 441)."""

    learning_rate: float = Field(
        1e-6, gt=0, description="The paper's 1e-6 moves little in a short run (LEARNING: 1e-4 did)."
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm of each of the two steps (paper 450).")
    stop_after_bad: int = Field(
        5, ge=1, description="Steps in a row with a gradient that is not finite before the run stops."
    )
    checkpoint_gradients: bool = Field(
        False,
        description="Compute each layer again on the way back in place of keeping its inside: longer prompts in the same memory, "
        "slower steps, the same gradients.",
    )


class GuardPart(_Section):
    """When a run pauses by itself, with the reason; each is looked at over the last `window` turns (agents/guards.py)."""

    window: int = Field(8, ge=2, description="Turns that are looked at together; fewer never pause a run.")
    most_kl: float | None = Field(
        5.0, gt=0, description="Mean divergence of a candidate from the reference, nats a reply; the talk died at 8.7."
    )
    least_entropy: float | None = Field(
        0.15, ge=0, description="Mean nats a token that the policy leaves open: near 0 it says one thing."
    )
    least_distinct: float | None = Field(
        0.4, ge=0, le=1, description="Different word pairs over all word pairs of the replies that clients heard."
    )
    most_garbled: float | None = Field(
        0.5, ge=0, le=1, description="Share of replies and candidates that the screen finds garbled or empty."
    )
    most_unjudged: float | None = Field(
        0.5, ge=0, le=1, description="Share of judgements that the judge failed to give."
    )


class Settings(_Section):
    """Everything that a training run is told."""

    run: RunPart = RunPart()
    model: ModelPart = ModelPart()
    lora: LoraSettings = LoraSettings()
    environment: EnvironmentPart = EnvironmentPart()
    client: ClientSettings = ClientSettings()
    reward: RewardSettings = RewardSettings()
    generation: GenerationPart = GenerationPart()
    corpus: CorpusPart = CorpusPart()
    sft: SftPart = SftPart()
    dpo: DpoPart = DpoPart()
    rlaif: RlaifPart = RlaifPart()
    grpo: GrpoPart = GrpoPart()
    optimizer: OptimizerPart = OptimizerPart()
    guards: GuardPart = GuardPart()

    @model_validator(mode="after")
    def _fine_tuning_has_epochs(self) -> "Settings":
        if self.run.method == "sft" and self.sft.epochs == 0:
            raise ValueError('run.method = "sft" learns nothing with sft.epochs = 0; expected at least 1')
        return self

    def to_toml(self) -> str:
        """All settings as used; an absent value has no line."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def read_settings(path: Path | str, changes: dict[str, Any] | None = None) -> Settings:
    """Settings of a TOML file; `changes` are dotted names that win over the file. Raises SettingsError with all mistakes."""
    raw = _toml(path)
    for dotted, value in (changes or {}).items():
        section, name = dotted.split(".")
        raw.setdefault(section, {})[name] = value
    return settings_of(raw, str(path))


def speaking_settings(path: Path | str) -> Settings:
    """What the therapist of a run speaks with: model and generation of its settings, also of a run of icarus dapt. The rest is
    as by default. Raises SettingsError."""
    return settings_of({name: part for name, part in _toml(path).items() if name in ("model", "generation")}, str(path))


def _toml(path: Path | str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such settings file; try configs/quickstart.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: not a TOML file that can be read ({error})") from error


def settings_of(raw: dict[str, Any], place: str) -> Settings:
    """Settings of a plain dictionary; `place` is named in the error."""
    try:
        return Settings.model_validate(raw)
    except ValidationError as error:
        mistakes = [_sentence(mistake) for mistake in error.errors()]
        raise SettingsError(
            "\n  - ".join([f"{place}: {len(mistakes)} setting(s) cannot be used:", *mistakes])
        ) from error


def _sentence(mistake: Any) -> str:
    where = ".".join(str(part) for part in mistake["loc"])
    if not where:
        return str(mistake["msg"]).removeprefix("Value error, ")
    if mistake["type"] != "extra_forbidden":
        whole = isinstance(mistake["input"], dict | BaseModel)  # a section, which may hold a key: its name is enough
        return f"{where}: {mistake['msg']}" if whole else f"{where}: found {mistake['input']!r}; {mistake['msg']}"
    known = _names(mistake["loc"][:-1])
    near = difflib.get_close_matches(str(mistake["loc"][-1]), known, n=1)
    cure = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"{where}: no such setting; {cure}"


def _names(place: tuple[Any, ...]) -> list[str]:
    section: Any = Settings
    for part in place:
        section = section.model_fields[part].annotation
    return list(section.model_fields)
