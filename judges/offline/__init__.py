"""The default judge: sentence vectors and counted features against authored examples, no language model, no key."""
