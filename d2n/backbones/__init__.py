"""What scores, retrieval and translators share of networks: how weights are read."""
