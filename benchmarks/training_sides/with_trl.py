"""TRL's GRPOTrainer with PEFT on a CPU; run by benchmarks/training.py with the interpreter of an environment that has both.

No gradient checkpointing, float32, one batch of all replies, as the trainer takes them; adapters of the same two ranks on the same
layers; reference log-probabilities with the adapters off.
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from importlib.metadata import version
from typing import Any

from lines import ATTENTION, MLP, Watch, rewards, serve


class Trl:
    """A trainer for each number of prompts, with a model of its own: the trainer changes the model's forward pass."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.name = f"TRL {version('trl')} + PEFT {version('peft')} on torch {version('torch')}"
        self.folder = tempfile.TemporaryDirectory()
        self.asked: Any = None
        self.replies: list[int] = []
        self._prepare([{"messages": [{"role": "user", "content": ""}], "tokens": []}], 1)
        self.trainable = sum(p.numel() for p in self.trainer.model.parameters() if p.requires_grad)

    def step(self, prompts: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """train() with one step, from its begin to its end; `_generate` is timed."""
        if self.asked != (prompts, new_tokens):
            self._prepare(prompts, new_tokens)
        self.watch, self.replies = Watch(), []
        self.trainer.train()
        generated = self.watch.seconds["generate"]
        return {"generate": generated, "learn": self.ended - self.began - generated, "replies": self.replies}

    def _prepare(self, prompts: list[dict[str, Any]], new_tokens: int) -> None:
        import torch
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
        from trl import GRPOConfig, GRPOTrainer

        self.trainer = None
        gc.collect()
        told, side = self.told, self
        tokenizer = AutoTokenizer.from_pretrained(told["folder"])

        class Marks(TrainerCallback):
            def on_step_begin(self, *args: Any, **named: Any) -> None:
                side.began = time.perf_counter()

            def on_step_end(self, *args: Any, **named: Any) -> None:
                side.ended = time.perf_counter()

        class Timed(GRPOTrainer):
            def _generate(self, asked: list[Any]) -> Any:
                with side.watch("generate"):
                    found = super()._generate(asked)
                side.replies = [len(reply) for reply in found[1]]
                _expect_same({tuple(ids) for ids in found[0]}, {tuple(prompt["tokens"]) for prompt in prompts})
                return found

        def reward(completions: Any, **named: Any) -> list[float]:
            return rewards(len(completions))

        attention, mlp = told["attention_rank"], told["mlp_rank"]
        lora = LoraConfig(
            r=attention, lora_alpha=told["scale"] * attention, lora_dropout=0.0, layers_to_transform=told["layers"],
            rank_pattern=dict.fromkeys(MLP, mlp), alpha_pattern=dict.fromkeys(MLP, told["scale"] * mlp),
            target_modules=[*ATTENTION, *MLP], task_type="CAUSAL_LM",
        )  # fmt: skip
        config = GRPOConfig(
            output_dir=self.folder.name, use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=1,
            per_device_train_batch_size=told["group"] * len(prompts), num_generations=told["group"],
            max_completion_length=new_tokens, generation_kwargs={"min_new_tokens": new_tokens},
            temperature=told["temperature"], top_p=1.0, top_k=0, min_p=told["min_p"], beta=told["kl_weight"],
            learning_rate=told["learning_rate"], lr_scheduler_type="constant", loss_type="grpo", shuffle_dataset=False,
            logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        self.trainer: Any = Timed(
            model=AutoModelForCausalLM.from_pretrained(told["folder"], dtype=torch.float32), reward_funcs=reward,
            args=config, train_dataset=Dataset.from_list([{"prompt": prompt["messages"]} for prompt in prompts]),
            processing_class=tokenizer, peft_config=lora, callbacks=[Marks()],
        )  # fmt: skip
        self.asked = (prompts, new_tokens)


def _expect_same(found: set[tuple[int, ...]], expected: set[tuple[int, ...]]) -> None:
    if found != expected:
        raise SystemExit(
            f"TRL's prompts have {sorted(map(len, found))} tokens, the other sides' {sorted(map(len, expected))}; expected the "
            "same tokens. Its tokenizer or chat template reads the folder otherwise than mlx-lm does"
        )


if __name__ == "__main__":
    sys.exit(serve(Trl))
