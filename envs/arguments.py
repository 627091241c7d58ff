"""What an environment is made with: words for voices and judges, and one error that names everything that has no meaning."""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from client_graph.catalog import Catalog, load_catalog
from client_graph.names import STAGES
from client_graph.settings import ClientSettings
from client_graph.tables import TableError, table_folder
from envs.conduct import Conduct
from envs.voice import AuthoredVoice, ClientVoice, SilentVoice
from judges.protocol import Judge
from rewards.settings import RewardSettings

VOICES = ("authored", "silent")
JUDGES = ("embedding", "anthropic")
WISHES = ("stage", "strategy", "concern")


def conduct_of(
    *,
    client: str | ClientVoice,
    judge: str | Judge,
    catalog: str | Path | Catalog | None,
    max_turns: int,
    reward: RewardSettings | None,
    settings: ClientSettings | None,
    judge_retries: int,
    also: Collection[str] = (),
) -> Conduct:
    """The conduct that these arguments ask for. Raises ValueError naming every one that is wrong, and `also`."""
    problems = [
        *_voice_problems(client),
        *_judge_problems(judge),
        *_catalog_problems(catalog),
        *number_problems("max_turns", max_turns, 1),
        *number_problems("judge_retries", judge_retries, 0),
        *kind_problems("reward", reward, RewardSettings),
        *kind_problems("settings", settings, ClientSettings),
        *also,
    ]
    if problems:
        raise ValueError("; ".join(problems))
    facts = catalog if isinstance(catalog, Catalog) else load_catalog(catalog)
    return Conduct(
        catalog=facts,
        voice=_voice(client, facts),
        judge=_JUDGES[judge]() if isinstance(judge, str) else judge,
        max_turns=int(max_turns),
        reward=reward or RewardSettings(),
        settings=settings or ClientSettings(),
        judge_retries=int(judge_retries),
    )


def checked_options(options: Mapping[str, Any] | None) -> tuple[bool, dict[str, Any]]:
    """(same_client, wishes for a new client) of a reset's options; None is no wish. Raises ValueError for what nobody knows."""
    given = dict(options or {})
    same_client = given.pop("same_client", False)
    if unknown := set(given) - set(WISHES):
        raise ValueError(f"found reset options {sorted(map(str, unknown))}; expected same_client, {', '.join(WISHES)}")
    if not isinstance(same_client, bool | np.bool_):
        raise ValueError(f"found same_client {same_client!r}; expected True or False")
    wishes = {name: wish for name, wish in given.items() if wish is not None}
    if same_client and wishes:
        raise ValueError(
            f"found reset options {sorted(wishes)} beside same_client; expected no wish for a known client"
        )
    return bool(same_client), wishes


def number_problems(name: str, found: Any, least: int) -> list[str]:
    """What is wrong with a whole number that has to be `least` or more."""
    if isinstance(found, int | np.integer) and not isinstance(found, bool) and found >= least:
        return []
    return [f"found {name} {found!r}; expected a whole number, at least {least}"]


def stage_problems(stage: Any) -> list[str]:
    """What is wrong with a stage of treatment that may be left open."""
    if stage is None or (isinstance(stage, int | np.integer) and not isinstance(stage, bool) and stage in STAGES):
        return []
    return [f"found stage {stage!r}; expected one of {STAGES}, or None to draw it"]


def render_problems(render_mode: Any, known: Collection[str]) -> list[str]:
    """What is wrong with a way of rendering."""
    if render_mode is None or render_mode in known:
        return []
    return [f"found render_mode {render_mode!r}; expected one of {list(known)} or None"]


def _voice_problems(client: Any) -> list[str]:
    return _model_problems("client", client, VOICES, "speak", "ClientVoice")


def _judge_problems(judge: Any) -> list[str]:
    return _model_problems("judge", judge, JUDGES, "judge", "Judge")


def _model_problems(argument: str, found: Any, words: Collection[str], method: str, kind: str) -> list[str]:
    """What keeps `found` from being one of `words` or something that has a name and the method."""
    expected = f"expected one of {list(words)}, or a {kind}, which has name and {method}()"
    if isinstance(found, type):
        return [f"found {argument} {found!r}, a class; {expected}: make one of it first"]
    if isinstance(found, str):
        return [] if found in words else [f"found {argument} {found!r}; {expected}"]
    if not callable(getattr(found, method, None)):
        return [f"found {argument} {found!r}; {expected}"]
    if not isinstance(getattr(found, "name", None), str):
        return [f"found {argument} {found!r} without a name; {expected}"]
    return []


def _catalog_problems(catalog: Any) -> list[str]:
    if catalog is None or isinstance(catalog, Catalog):
        return []
    if not isinstance(catalog, str | Path):
        return [f"found catalog {catalog!r}; expected a folder of client tables, a Catalog, or None for configs/client"]
    try:
        table_folder(catalog)
    except TableError as error:
        return [f"catalog {error}"]
    return []


def kind_problems(name: str, found: Any, kind: type) -> list[str]:
    if found is None or isinstance(found, kind):
        return []
    return [f"found {name} {found!r}; expected {kind.__name__}(...) or None"]


def _voice(client: str | ClientVoice, catalog: Catalog) -> ClientVoice:
    if not isinstance(client, str):
        return client
    return AuthoredVoice(catalog) if client == "authored" else SilentVoice()


@cache
def _anthropic_judge() -> Judge:
    """One for all environments of a process: it has one budget. Its key is the environment's ANTHROPIC_API_KEY."""
    from judges.api.judge import AnthropicJudge

    return AnthropicJudge()


@cache
def _embedding_judge() -> Judge:
    """One for all environments of a process: its weights are 90 MB and it has no state."""
    from judges.offline.embedding import EmbeddingJudge

    return EmbeddingJudge()


_JUDGES: dict[str, Callable[[], Judge]] = dict(zip(JUDGES, (_embedding_judge, _anthropic_judge), strict=True))
