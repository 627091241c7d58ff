"""Sixteen affective reservoirs, each in [0, 1], that move faster than the nodes (paper 353-356)."""

from client_graph.compiled import compiled
from client_graph.graph import apply_changes


@compiled
def update_buckets(buckets, helping, harming, tables, moved):  # type: ignore[no-untyped-def]
    """Move `buckets` (16,) in place; what each truly moved is written to `moved` (16,).

    Δ_b = volatility_b · Σ_d (help_d / 10 · high_db + harm_d / 10 · low_db), the level kept in [0, 1]   (DIM_TO_BUCKET)
    """
    for b in range(buckets.shape[0]):
        change = 0.0
        for d in range(helping.shape[0]):
            change += 0.1 * (helping[d] * tables.bucket_high[d, b] + harming[d] * tables.bucket_low[d, b])
        before = buckets[b]
        buckets[b] = min(1.0, max(0.0, before + tables.bucket_volatility[b] * change))
        moved[b] = buckets[b] - before


@compiled
def maladaptive_mean(buckets, tables):  # type: ignore[no-untyped-def]
    """Mean of the eight maladaptive buckets, in [0, 1]."""
    total, count = 0.0, 0
    for b in range(buckets.shape[0]):
        if not tables.bucket_adaptive[b]:
            total += buckets[b]
            count += 1
    return total / count


@compiled
def adaptive_mean(buckets, tables):  # type: ignore[no-untyped-def]
    """Mean of the eight adaptive buckets, in [0, 1]; one that falls as therapy goes well counts as 1 - level."""
    total, count = 0.0, 0
    for b in range(buckets.shape[0]):
        if tables.bucket_adaptive[b]:
            total += 1.0 - buckets[b] if tables.bucket_falls[b] else buckets[b]
            count += 1
    return total / count


@compiled
def couple_buckets_to_nodes(levels, bucket_moved, tables, scratch, moved):  # type: ignore[no-untyped-def]
    """apply_bucket_coiling_interactions: a bucket's change feeds its nodes; Δ_n = Σ_b coefficient_bn · Δ_b (paper 356)."""
    scratch[:] = 0.0
    for c in range(tables.couple_node.shape[0]):
        scratch[tables.couple_node[c]] += tables.couple_coefficient[c] * bucket_moved[tables.couple_bucket[c]]
    apply_changes(levels, scratch, tables, moved)


@compiled
def erode(buckets, at_start, tables):  # type: ignore[no-untyped-def]
    """Between sessions part of the progress is lost, harm is not undone; `at_start` (16,) are the client's first levels.

    progress_b = what the bucket moved toward health since the start;   progress_b <- (1 - decay_b) progress_b  if > 0
    """
    for b in range(buckets.shape[0]):
        filling = tables.bucket_adaptive[b] and not tables.bucket_falls[b]
        change = buckets[b] - at_start[b]
        progress = change if filling else -change
        if progress > 0.0:
            buckets[b] = at_start[b] + (1.0 - tables.bucket_decay[b]) * change
