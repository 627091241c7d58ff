"""Domain-adaptive pre-training: sessions of 5-tuple turns and the curricula that present them (paper 238-312, 2074-2117)."""
