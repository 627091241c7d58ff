"""mlx-lm-lora's GRPO, by its own train_grpo; run by benchmarks/training.py with the interpreter of an environment that has it.

Its one rank for all modules is not a limit: mlx-lm's LoRA layers are put in twice, for attention and for the MLP. Reference
log-probabilities come from a second model, as its `reference_model_path` has it (without one there is no KL term). Sequences are
scored in its own way, as many at once as there are prompts in the batch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lines import ATTENTION, MLP, Endless, Watch, load_blas, rewards, serve


class MlxLmLora:
    """The policy with its adapters and Adam, and the reference."""

    def __init__(self, told: dict[str, Any]) -> None:
        load_blas(told["blas"])
        import mlx.optimizers as optim
        from mlx.utils import tree_flatten
        from mlx_lm.tuner.utils import linear_to_lora_layers
        from mlx_lm.utils import load
        from mlx_lm_lora.trainer import grpo_trainer

        self.told, self.trainer = told, grpo_trainer
        self.name = f"mlx-lm-lora {version('mlx-lm-lora')} on MLX {version('mlx')}"
        self.model, tokenizer = load(told["folder"])
        self.reference, _ = load(told["folder"])
        self.reference.freeze()
        self.model.freeze()
        for part, names, rank in (
            ("self_attn", ATTENTION, told["attention_rank"]),
            ("mlp", MLP, told["mlp_rank"]),
        ):
            keys = {f"model.layers.{layer}.{part}.{name}" for layer in told["layers"] for name in names}
            linear_to_lora_layers(self.model, 0, {"rank": rank, "scale": told["scale"], "dropout": 0.0, "keys": keys})
        self.trainable = sum(array.size for _, array in tree_flatten(self.model.trainable_parameters()))
        self.tokenizer = Endless(tokenizer)
        self.optimizer = optim.Adam(learning_rate=told["learning_rate"])
        self.folder = tempfile.TemporaryDirectory()

    def step(self, prompts: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """train_grpo with one iteration; its `generate_grpo` is timed, and the end is where it reports."""
        watch, lengths, ended = Watch(), list[int](), list[float]()
        generate = self.trainer.generate_grpo

        def timed(**asked: Any) -> Any:
            with watch("generate"):
                found = generate(**asked)
            lengths.extend(int(reply.size) for reply in found[0])
            return found

        class Report:
            def on_train_loss_report(self, info: dict[str, Any]) -> None:
                ended.append(time.perf_counter())

        def reward(prompts: Any, completions: Any, answer: Any, types: Any = None) -> list[float]:
            return rewards(len(completions))

        told, many = self.told, len(prompts)
        args = self.trainer.GRPOTrainingArgs(
            batch_size=many, iters=1, group_size=told["group"], beta=told["kl_weight"], max_completion_length=new_tokens,
            temperature=told["temperature"], top_p=1.0, top_k=0, min_p=told["min_p"],
            adapter_file=str(Path(self.folder.name) / "adapters.safetensors"),
        )  # fmt: skip
        self.trainer.generate_grpo = timed
        start = time.perf_counter()
        try:
            self.trainer.train_grpo(
                model=self.model, ref_model=self.reference, tokenizer=self.tokenizer, optimizer=self.optimizer,
                train_dataset=[(prompt["tokens"], [], json.dumps(prompt["messages"]), "") for prompt in prompts],
                reward_funcs=[reward], args=args, training_callback=Report(), end_answer_token="",
            )  # fmt: skip
        finally:
            self.trainer.generate_grpo = generate
        generated = watch.seconds["generate"]
        return {"generate": generated, "learn": ended[0] - start - generated, "replies": lengths}


if __name__ == "__main__":
    sys.exit(serve(MlxLmLora))
