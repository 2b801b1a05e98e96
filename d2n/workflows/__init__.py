"""One file a verb. Only here do the rooms meet."""
