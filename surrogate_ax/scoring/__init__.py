"""What outputs are judged by: metrics and objectives, the evaluator of a batch, a score in its own process."""
