"""A judge that reads: what the states of a frozen language model say of a reply, where sentence vectors see only its words."""
