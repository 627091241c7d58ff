"""The command `icarus adapter`: a trained adapter to and from other libraries, fused, and ready to be published."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.settings import Settings

_NOTICE = "Icarus is research software: what it trains is not for clinical use."


def add_adapter(commands: Any) -> None:
    """`adapter` and its own commands among the subcommands."""
    adapter = commands.add_parser(
        "adapter",
        help="an adapter for PEFT or mlx-lm, from them, fused, or with a model card",
        description=f"Adapters to and from other libraries (docs/adapters.md). {_NOTICE}",
    )
    kinds = adapter.add_subparsers(required=True, metavar="WHAT")
    run = {"type": Path, "metavar": "RUN_OR_FOLDER", "help": "a training run, or an adapter folder by Icarus"}
    base = {"metavar": "NAME", "help": "the base as transformers and the hub know it; none: as the run names it"}
    out = {"type": Path, "metavar": "DIR", "required": True, "help": "a new folder"}
    forms = ("peft", "mlx-lm")

    export = kinds.add_parser("export", help="write it as PEFT or mlx-lm keeps adapters", description=_NOTICE)
    export.add_argument("source", **run)
    export.add_argument("--to", choices=forms, required=True)
    export.add_argument("--base", **base)
    export.add_argument("--out", **out)
    export.set_defaults(run=_export)

    bring = kinds.add_parser(
        "import",
        help="read one by PEFT or mlx-lm",
        description="What cannot be brought over without a change to what it does is refused, everything in one error.",
    )
    bring.add_argument("source", type=Path, metavar="FOLDER", help="where adapter_config.json lies")
    bring.add_argument("--from", dest="form", choices=forms, required=True)
    bring.add_argument("--model", required=True, help='its base: "smollm2", a folder, or a hub name')
    bring.add_argument("--out", **out)
    bring.set_defaults(run=_import)

    fuse = kinds.add_parser("fuse", help="add it to its base for good: a model folder for mlx-lm", description=_NOTICE)
    fuse.add_argument("source", **run)
    fuse.add_argument("--model", help="its base; none: as the run names it")
    fuse.add_argument("--out", **out)
    ways = fuse.add_mutually_exclusive_group()
    ways.add_argument("--dequantize", dest="quantised", action="store_const", const="dequantise",
                      help="expand a quantised base: exact, a model of its full size")  # fmt: skip
    ways.add_argument("--requantize", dest="quantised", action="store_const", const="requantise",
                      help="round a quantised base again: as small as before, and not the same")  # fmt: skip
    fuse.set_defaults(run=_fuse, quantised="refuse")

    card = kinds.add_parser(
        "card",
        help="a folder to upload: both formats, and a model card that says how it was trained",
        description=f"What the run folder does not hold is said to be unknown. {_NOTICE}",
    )
    card.add_argument("source", type=Path, metavar="RUN", help="a training run")
    card.add_argument("--base", **base)
    card.add_argument("--out", **out)
    card.set_defaults(run=_card)


def _export(asked: argparse.Namespace) -> int:
    from agents.lm.adapters import save_adapter
    from agents.lm.interchange import read_adapter
    from agents.lm.interchange_peft import export_peft
    from agents.lm.run_folder import adapter_folder

    _expect_new(asked.out)
    adapter = read_adapter(adapter_folder(asked.source))
    if asked.to == "mlx-lm":
        save_adapter(asked.out, *adapter)
        print(f"{asked.out}: mlx_lm.generate --model BASE --adapter-path {asked.out}")
        return 0
    base = asked.base or _base(_settings(asked.source))
    left_out = export_peft(asked.out, adapter, base)
    print(f'{asked.out}: PeftModel.from_pretrained(model, "{asked.out}"); base: {base or "not named (--base NAME)"}')
    if left_out:
        print(f"{len(left_out)} modules are zero and were left out")
    return 0


def _import(asked: argparse.Namespace) -> int:
    from agents.lm.adapters import save_adapter
    from agents.lm.interchange_mlx_lm import import_mlx_lm
    from agents.lm.interchange_peft import import_peft
    from agents.lm.models import load_model

    _expect_new(asked.out)
    bring = import_peft if asked.form == "peft" else import_mlx_lm
    adapter, notes = bring(asked.source, load_model(asked.model))
    save_adapter(asked.out, *adapter)
    found = adapter.settings
    assert isinstance(found.layers, list)
    print(
        f"{asked.out}: layers {', '.join(map(str, found.layers))}, ranks {found.attention_rank} (attention) and "
        f"{found.mlp_rank} (MLP), scale {found.scale:g}"
    )
    for note in notes:
        print(f"  {note}")
    return 0


def _fuse(asked: argparse.Namespace) -> int:
    from agents.lm.fuse import fuse_folder
    from agents.lm.interchange import InterchangeError
    from agents.lm.run_folder import adapter_folder

    _expect_new(asked.out)
    settings = _settings(asked.source)
    base = asked.model or (settings.model.name if settings else None)
    if base is None:
        raise InterchangeError(f"{asked.source} is no run, so its base is not known; expected it: --model NAME")
    fuse_folder(base, adapter_folder(asked.source), asked.out, asked.quantised)
    print(f"{asked.out}: icarus chat --model {asked.out}, or mlx_lm.generate --model {asked.out}")
    return 0


def _card(asked: argparse.Namespace) -> int:
    from agents.card import model_card
    from agents.lm.adapters import save_adapter
    from agents.lm.files import whole_folder
    from agents.lm.interchange import InterchangeError, read_adapter
    from agents.lm.interchange_peft import export_peft
    from agents.lm.run_folder import ADAPTERS, SUMMARY, RunFolder

    _expect_new(asked.out)
    run = RunFolder.existing(asked.source)
    settings = _settings(asked.source)
    assert settings is not None
    adapter = read_adapter(run / ADAPTERS)
    ended = (run / SUMMARY).is_file()
    summary = json.loads((run / SUMMARY).read_text("utf-8")) if ended else None
    base, no_peft = asked.base or _base(settings), None
    with whole_folder(asked.out) as folder:
        save_adapter(folder / "mlx-lm", *adapter)
        try:
            export_peft(folder / "peft", adapter, base)
        except InterchangeError as error:
            no_peft = str(error)
        text = model_card(settings, summary, adapter, base, no_peft)
        (folder / "README.md").write_text(text, "utf-8")
    forms = "mlx-lm" if no_peft else "mlx-lm and PEFT"
    print(f"{asked.out}: README.md, and the adapter for {forms}; base: {base or 'not named (--base NAME)'}")
    if no_peft:
        print(f"not for PEFT: {no_peft}")
    print("Read the card before you publish it, and choose a license" + ("" if ended else "; the run had not ended"))
    return 0


def _expect_new(out: Path) -> None:
    """Nothing that is there already is replaced."""
    from agents.lm.interchange import InterchangeError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InterchangeError(f"{out}: found something there already; expected a new folder: --out DIR")


def _settings(source: Path) -> "Settings | None":
    """What a run, or the run whose adapter this is, was told; None for an adapter that lies by itself."""
    from agents.lm.run_folder import settings_file
    from agents.settings import read_settings

    found = settings_file(source)
    return read_settings(found) if found else None


def _base(settings: "Settings | None") -> str | None:
    """The base's name on the hub, where the run's own name for it tells."""
    from agents.lm.models import hub_name

    return hub_name(settings.model.name) if settings else None
