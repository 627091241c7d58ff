"""A model's config.json by its name, with no network: of a folder, of what was downloaded before, or of configs/models.

configs/models/*.json holds the published shapes of the models that run settings name, each with its source.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from client_graph.names import CONFIGS

FOLDER = CONFIGS / "models"


class NoDescription(ValueError):
    """A model whose shapes cannot be had; the message says where was looked and what to try."""


class Description(BaseModel):
    """One architecture and the names that it is known by."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(min_length=1, description="Where the values are from, and which could not be verified.")
    models: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Name of a model -> fields of its config.json beside `config`: how it is quantised."
    )
    config: dict[str, Any] = Field(description="The fields of config.json that decide shapes, as published.")


def descriptions(folder: Path = FOLDER) -> dict[str, Description]:
    """File name -> description, in the order of the names. Raises NoDescription for a file that is none."""
    return {path.name: _read(path) for path in sorted(folder.glob("*.json"))}


def _read(path: Path) -> Description:
    try:
        return Description.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise NoDescription(f"{path}: not the description of a model ({error})") from error


def config_of(name: str) -> tuple[dict[str, Any], str]:
    """(config.json of the model `name`, where it is from). Raises NoDescription."""
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise NoDescription(f"{path}: found a folder without config.json; expected a model's folder in mlx-lm's format")
    own = path / "config.json" if path.is_dir() else _downloaded(name)
    if own is not None:
        return _config(own), str(own)
    known = descriptions()
    for file, described in known.items():
        if name in described.models:
            return {**described.config, **described.models[name]}, f"configs/models/{file}"
    names = ", ".join(sorted(model for described in known.values() for model in described.models))
    raise NoDescription(
        f"model {name!r}: found no such folder, nothing downloaded by that name, and no description of it in configs/models; "
        f"known there are {names}. Put the model's config.json into a folder, and name the folder with --model"
    )


def siblings(name: str) -> str | None:
    """The same model with the next fewer bits, of those described; None where there is none."""
    for described in descriptions().values():
        if name in described.models:
            bits = {other: _bits(fields) for other, fields in described.models.items()}
            fewer = [other for other in bits if bits[other] < bits[name]]
            return max(fewer, key=lambda other: bits[other], default=None)
    return None


def _bits(fields: dict[str, Any]) -> int:
    return int(fields["quantization"]["bits"]) if "quantization" in fields else 16


def _downloaded(name: str) -> Path | None:
    """The config.json of a hub name in the hub's cache on this machine; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # not a hub name: "smollm2" is one, "./x" is not
        return None
    return Path(found) if isinstance(found, str) else None


def _config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoDescription(f"{path}: not a JSON file that can be read ({error})") from error
    if not isinstance(found, dict) or "model_type" not in found:
        raise NoDescription(f"{path}: found no model_type; expected a model's config.json")
    return found
