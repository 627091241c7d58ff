"""The agents. The fast BLAS has to be in the process before anything imports MLX, so it is loaded here, first of all."""

import agents.lm.device  # noqa: F401
