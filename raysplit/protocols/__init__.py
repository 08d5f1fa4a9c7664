"""One protocol a file, as answers to a few questions; and what follows from them: the round's plan, split steps, their
order."""
