"""The fast BLAS is in the process before a test imports MLX."""

import agents.lm  # noqa: F401
