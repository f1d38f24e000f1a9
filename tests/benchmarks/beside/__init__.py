"""Real text goes in; scores, time and memory of our training, and of a plain loop, come out."""
