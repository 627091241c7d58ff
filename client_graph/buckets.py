"""Sixteen affective reservoirs, each in [0, 1], that move faster than the nodes (paper 353-356)."""

from client_graph.compiled import compiled
from client_graph.graph import apply_changes


@compiled
def update_buckets(buckets, helping, harming, tables, moved):  # type: ignore[no-untyped-def]
    """Move `buckets` (B, lanes) in place; what each truly moved is written to `moved` (B, lanes).

    Δ_b = volatility_b · Σ_d (help_d / 10 · high_db + harm_d / 10 · low_db), the level kept in [0, 1]   (DIM_TO_BUCKET)
    """
    moved[:] = 0.0
    for row in tables.bucket_scores:
        b, d, high, low = row.bucket, row.dimension, row.high, row.low
        for k in range(moved.shape[1]):
            moved[b, k] += 0.1 * (helping[d, k] * high + harming[d, k] * low)
    for b in range(buckets.shape[0]):
        volatility = tables.buckets[b].volatility
        for k in range(moved.shape[1]):
            before = buckets[b, k]
            buckets[b, k] = min(1.0, max(0.0, before + volatility * moved[b, k]))
            moved[b, k] = buckets[b, k] - before


@compiled
def bucket_means(buckets, tables, adaptive, maladaptive):  # type: ignore[no-untyped-def]
    """Means of the adaptive and of the maladaptive buckets, written to (lanes,) each, in [0, 1].

    An adaptive one that falls as therapy goes well counts as 1 - level.
    """
    adaptive[:], maladaptive[:] = 0.0, 0.0
    well, ill = 0, 0
    for b in range(buckets.shape[0]):
        bucket = tables.buckets[b]
        if not bucket.adaptive:
            ill += 1
            for k in range(adaptive.shape[0]):
                maladaptive[k] += buckets[b, k]
        else:
            well += 1
            for k in range(adaptive.shape[0]):
                adaptive[k] += 1.0 - buckets[b, k] if bucket.falls else buckets[b, k]
    for k in range(adaptive.shape[0]):
        adaptive[k] /= well
        maladaptive[k] /= ill


@compiled
def couple_buckets_to_nodes(levels, bucket_moved, tables, moved):  # type: ignore[no-untyped-def]
    """apply_bucket_coiling_interactions: a bucket's change feeds its nodes; Δ_n = Σ_b coefficient_bn · Δ_b (paper 356)."""
    moved[:] = 0.0
    for row in tables.bucket_nodes:
        b, n, coefficient = row.bucket, row.node, row.coefficient
        for k in range(moved.shape[1]):
            moved[n, k] += coefficient * bucket_moved[b, k]
    apply_changes(levels, moved, tables)


@compiled
def erode(buckets, at_start, tables):  # type: ignore[no-untyped-def]
    """Between sessions part of the progress is lost, harm is not undone; (B,) each, `at_start` as the client came.

    progress_b = what the bucket moved toward health since the start;   progress_b <- (1 - decay_b) progress_b  if > 0
    """
    for b in range(buckets.shape[0]):
        bucket = tables.buckets[b]
        filling = bucket.adaptive and not bucket.falls
        change = buckets[b] - at_start[b]
        progress = change if filling else -change
        if progress > 0.0:
            buckets[b] = at_start[b] + (1.0 - bucket.decay) * change
