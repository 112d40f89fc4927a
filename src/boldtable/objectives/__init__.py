"""One file per training objective: losses and masks; arrays only."""
