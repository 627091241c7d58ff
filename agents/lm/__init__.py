"""Language-model plumbing: loading, adapters, decoding, log-probabilities, checkpoints.

Imports none of our other packages. Importing it puts a fast BLAS in place, which works only before the first import of
`mlx.core` in the process: a file that needs both imports `agents.lm` first.
"""

from agents.lm import device as device
