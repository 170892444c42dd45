"""How a search runs: the loop, executors from candidates to evaluations, and what a host has to do."""
