"""Where to search next: the history of a search, and policies that propose the next round from it."""
