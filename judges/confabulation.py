"""Details of the room or of the client's life that nothing said so far supports (paper 2295-2296, failure 10)."""

from judges.protocol import Exchange, Violation


def confabulated(exchange: Exchange) -> tuple[Violation, ...]:
    """At most one Violation of kind confabulation, its evidence the first unsupported details."""
    return ()
