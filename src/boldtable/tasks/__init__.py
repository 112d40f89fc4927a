"""Tasks: how they are scored. Shared by the stages that score participants and the one that prints the scores."""
