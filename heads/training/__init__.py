"""From cached rows and labels to the folder of a run."""
