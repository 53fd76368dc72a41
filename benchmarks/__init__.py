"""Speed as a ratio: what the pipeline does, against the limit measured in the same run."""
