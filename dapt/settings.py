"""The settings of a pre-training run, with their sentences; read from TOML, all mistakes in one error."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.lm.lora import LoraSettings
from dapt.anchors import LABELS
from dapt.masks import Learnable


class DaptSettingsError(ValueError):
    """A settings file that cannot be used; the message lists every mistake in it."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RunPart(_Section):
    """How long a run is and where it writes."""

    folder: str = Field("runs", description="Folder in which each run makes its own folder.")
    name: str = Field(
        "dapt", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="First part of the run folder's name."
    )
    seed: int = Field(0, ge=0, description="Everything that is drawn in a run follows from it.")
    steps: int = Field(24, ge=1, description="Optimizer steps, each on one sample of every process (paper 299).")
    checkpoint_every: int = Field(8, ge=1, description="Windows between checkpoints.")
    keep_checkpoints: int = Field(2, ge=1, description="Newest checkpoints that are kept.")


class ModelPart(_Section):
    """The base and the adapter to begin with."""

    name: str = Field("smollm2", description='"smollm2" (embedded), a model folder, or a hub name that mlx-lm takes.')
    adapter: str | None = Field(None, description="Adapter folder to begin with; none: fresh ones.")


class CorpusPart(_Section):
    """Sessions, and the views of them that are read."""

    sessions: str = Field(..., min_length=1, description="A JSON-lines file of sessions, or a folder of JSON files.")
    held_out: int = Field(4, ge=0, description="Sessions that are never learned from.")
    views: tuple[Literal["uhd", "adwc"], ...] = Field(
        ("uhd", "adwc"), min_length=1, description="Expanding prefixes, and windows in both directions of time."
    )
    most_tokens: int | None = Field(
        None, ge=2, description="Samples longer than this are left out; none: all are read."
    )
    anchors: bool = Field(
        False, description="Factor labels stand in the text, between anchors: spans, phases, labels (paper 2089)."
    )
    learn: tuple[Learnable, ...] | None = Field(
        None,
        min_length=1,
        description="What carries the loss, the rest given: components, kinds of spans, labels; none: all (paper 2083).",
    )

    @model_validator(mode="after")
    def _labels_are_shown(self) -> CorpusPart:
        if hidden := [name for name in self.learn or () if name in LABELS and not self.anchors]:
            raise ValueError(
                f"learn: found {', '.join(hidden)}, which no text shows without anchors; set anchors = true"
            )
        return self


class WindowPart(_Section):
    """The rolling recap architecture (paper 286-301)."""

    size: int = Field(
        1024, ge=2, description="Content tokens of a window; the last of a sample has up to a quarter more or fewer."
    )
    slots: int = Field(64, ge=1, description="Slots of the compressed history, of every layer.")
    recap_tokens: int = Field(64, ge=0, description="Longest recap; 0 leaves recaps out, and with them the gates.")
    recap_temperature: float = Field(0.7, ge=0, description="Of the recap that the adapting model makes.")
    min_p: float = Field(
        0.1, ge=0, le=1, description="Drops tokens below this share of the likeliest one's probability."
    )


class OptimizerPart(_Section):
    """Adam on the adapters, and on the compressor."""

    learning_rate: float = Field(1e-4, gt=0, description="Of the adapters.")
    compressor_share: float = Field(
        0.1, gt=0, description="The compressor's rate over that of the adapters (paper 297)."
    )
    clip_norm: float = Field(1.0, gt=0, description="Largest gradient norm of a step.")


class WatchPart(_Section):
    """What is measured on held-out text while a run learns (paper 511); it changes nothing of what is learned."""

    every: int = Field(
        32, ge=0, description="Windows between measurements; 0: only before the first and after the last."
    )
    windows: int = Field(
        2,
        ge=1,
        description="First windows of each held-out session that each reads; those after the first have a history.",
    )


class DaptSettings(_Section):
    """Everything that a pre-training run is told."""

    run: RunPart = RunPart()
    model: ModelPart = ModelPart()
    lora: LoraSettings = LoraSettings()
    corpus: CorpusPart
    window: WindowPart = WindowPart()
    optimizer: OptimizerPart = OptimizerPart()
    watch: WatchPart = WatchPart()

    def to_toml(self) -> str:
        """All settings as used; an absent value has no line."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def read_dapt_settings(path: Path | str) -> DaptSettings:
    """Settings of a TOML file. Raises DaptSettingsError with all mistakes."""
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DaptSettingsError(
            f"{path}: not a TOML file that can be read ({error}); try configs/dapt_quickstart.toml"
        ) from error
    try:
        return DaptSettings.model_validate(raw)
    except ValidationError as error:
        mistakes = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        ]
        raise DaptSettingsError(
            "\n  - ".join([f"{path}: {len(mistakes)} setting(s) cannot be used:", *mistakes])
        ) from error
