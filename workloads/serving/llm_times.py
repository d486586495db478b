"""How long the steps of a continuously batching LLM engine take, and what fits into it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from workloads.errors import WorkloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmTimes:
    """Step times of one replica.

    | step | takes |
    |---|---|
    | prefill of prompts t₁ … tₘ | prefill_fixed_s + prefill_per_token_s·Σt + prefill_per_token2_s·Σt² |
    | decode of n requests, C tokens of context | decode_fixed_s + decode_per_request_s·n + decode_per_token_s·C |
    | both, with chunked prefill of q tokens | the larger of the fixed parts, and all others |

    The defaults are the profile `opt_13b_a100`: vLLM with OPT-13B on one A100, as the simulator of DistServe has it
    (Zhong et al., OSDI 2024); in which file, and how `kv_tokens` was reckoned, stands there.

    Args:
        kv_tokens: tokens of context that fit into the GPU's memory.
        max_batch: requests that run at once.
        max_prefill_tokens: of a prefill of several prompts; one alone may be longer.
        chunk_tokens: 0: a prefill stalls all decoding; else the tokens of a step, of which decoding comes first and the
            rest goes to prompts (chunked prefill; Agrawal et al., Sarathi-Serve, OSDI 2024).
    """

    prefill_fixed_s: float = 0.02205
    prefill_per_token_s: float = 0.1405e-3
    prefill_per_token2_s: float = 8.08e-9
    decode_fixed_s: float = 0.02348
    decode_per_request_s: float = 0.0607e-3
    decode_per_token_s: float = 5.93e-7
    kv_tokens: int = 60_000
    max_batch: int = 256
    max_prefill_tokens: int = 8192
    chunk_tokens: int = 0

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name == "chunk_tokens" or option.name.endswith("_s"):
                holds, rule = 0 <= value < math.inf, "must be 0 or more"
            else:
                holds, rule = value >= 1, "must be 1 or more"
            if not holds:
                raise WorkloadError(f"llm.{option.name}={value}: {rule}")
        if not self.decode_fixed_s + self.decode_per_request_s > 0:
            raise WorkloadError("llm.decode_fixed_s=0: a decode step must take some time")

    @property
    def least_step_s(self) -> float:
        """No step takes less."""
        return min(self.prefill_s(1, 1), self.decode_fixed_s + self.decode_per_request_s + self.decode_per_token_s)

    def prefill_s(self, tokens: int, tokens2: int) -> float:
        """Seconds of a prefill of prompts with this sum, and sum of squares, of tokens."""
        return self.prefill_fixed_s + self.prefill_per_token_s * tokens + self.prefill_per_token2_s * tokens2

    def decode_s(self, requests: int, context: int) -> float:
        """Seconds of a decode step of so many requests, with so many tokens of context in all."""
        return self.decode_fixed_s + self.decode_per_request_s * requests + self.decode_per_token_s * context
