"""Whether an adapter is the same adapter elsewhere: logits by Icarus, by mlx-lm and by PEFT in torch, on tiny random models.

    uv venv /tmp/peft && uv pip install --python /tmp/peft torch peft transformers safetensors
    python benchmarks/interchange.py --python /tmp/peft/bin/python

transformers makes a random base of each architecture (64 wide, 6 layers, float32), PEFT an adapter for it with ranks and
alphas by pattern. Icarus makes adapters of its own (layers 2 and 3, ranks 8 and 4; in mixtures of experts the MLP's are zero,
which PEFT would misread), exports them and reads PEFT's. Printed: the largest difference of a logit over twelve positions;
"moves" is what the adapter itself changes. Two minutes on two busy cores.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.adapters import load_adapter, save_adapter
from agents.lm.architecture import is_attention
from agents.lm.device import mx

# isort: split
from mlx_lm.utils import load as mlx_lm_load

from agents.lm.fuse import fuse_folder
from agents.lm.interchange import read_adapter
from agents.lm.interchange_peft import export_peft, import_peft
from agents.lm.lora import LoraSettings, fresh, inject, set_trainable
from agents.lm.models import LoadedModel, load_model

OTHER_SIDE = Path(__file__).with_name("interchange_peft.py")
LORA = LoraSettings(attention_rank=8, mlp_rank=4, scale=1.5)
COLUMNS = (
    "base: transformers - mlx-lm", "Icarus - PEFT", "Icarus - mlx-lm", "Icarus - fused", "moves",
    "PEFT's adapter: PEFT - Icarus", "moves",
)  # fmt: skip


def logits(model: object, tokens: np.ndarray) -> np.ndarray:
    return np.array(model(mx.array(tokens)).astype(mx.float32))  # type: ignore[operator]


def make_adapter(loaded: LoadedModel, folder: Path) -> None:
    """A random adapter of Icarus on `loaded`, saved; in a mixture of experts its MLP is zero."""
    inject(loaded.model, LORA, mx.random.key(1))
    tree = fresh(loaded.model, mx.random.key(2))
    keys, mixture = mx.random.split(mx.random.key(3), len(tree)), any(array.ndim == 3 for array in tree.values())
    for (name, array), key in zip(tree.items(), keys, strict=True):
        if mixture and not is_attention(name.rpartition(".")[0]):
            tree[name] = mx.zeros_like(array)
        elif name.endswith("lora_b"):
            tree[name] = mx.random.normal(array.shape, key=key)
    set_trainable(loaded.model, tree)
    save_adapter(folder, tree, LORA, loaded.base_hash)


def adapted(base: Path, adapter: Path) -> LoadedModel:
    """The base with an Icarus folder's adapter in it."""
    loaded, held = load_model(str(base)), read_adapter(adapter)
    inject(loaded.model, held.settings, mx.random.key(0))
    set_trainable(loaded.model, load_adapter(adapter, loaded.model, loaded.base_hash))
    return loaded


def measure(folder: Path) -> dict[str, np.ndarray]:
    """Icarus's side of one architecture: exports to FOLDER/exported, imports FOLDER/peft; logits by who made them."""
    base, theirs = folder / "base", dict(mx.load(str(folder / "torch.safetensors")))
    tokens = np.array(theirs["tokens"])
    loaded = load_model(str(base))
    found = {
        "transformers": np.array(theirs["base"]),
        "PEFT": np.array(theirs["peft"]),
        "base": logits(loaded.model, tokens),
    }
    imported = import_peft(folder / "peft", loaded)
    save_adapter(folder / "imported", *imported.adapter)
    make_adapter(loaded, folder / "own")
    found["own"] = logits(loaded.model, tokens)
    export_peft(folder / "exported", read_adapter(folder / "own"), str(base))
    found["imported"] = logits(adapted(base, folder / "imported").model, tokens)
    found["mlx-lm"] = logits(mlx_lm_load(str(base), adapter_path=str(folder / "own"))[0], tokens)
    fuse_folder(str(base), folder / "own", folder / "fused")
    found["fused"] = logits(mlx_lm_load(str(folder / "fused"))[0], tokens)
    print(f"{folder.name}: {'; '.join(imported.notes) or 'nothing changed'}", file=sys.stderr)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--python", required=True, help="interpreter of an environment with torch, transformers and peft"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        other = [asked.python, str(OTHER_SIDE)]
        subprocess.run([*other, "make", place], check=True)
        folders = sorted(Path(place).iterdir())
        found = {folder.name: measure(folder) for folder in folders}
        subprocess.run([*other, "read", place], check=True)
        for folder in folders:
            found[folder.name]["exported"] = np.array(dict(mx.load(str(folder / "exported.safetensors")))["exported"])
        version = json.loads((folders[0] / "peft" / "adapter_config.json").read_text("utf-8")).get("peft_version")
    print(f"PEFT {version}; the largest difference of a logit\n")
    print("| architecture | largest logit | " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * (len(COLUMNS) + 1))
    for name, of in found.items():
        pairs = [
            ("transformers", "base"), ("own", "exported"), ("own", "mlx-lm"), ("own", "fused"), ("own", "base"),
            ("PEFT", "imported"), ("PEFT", "transformers"),
        ]  # fmt: skip
        cells = " | ".join(f"{np.abs(of[a] - of[b]).max():.1e}" for a, b in pairs)
        print(f"| {name} | {np.abs(of['base']).max():.1f} | {cells} |")


if __name__ == "__main__":
    main()
