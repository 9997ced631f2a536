"""From DATA to what is kept of it: read once, by shards and processes, checked, found again, streamed."""
