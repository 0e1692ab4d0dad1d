"""To the Hub: what pushes of datasets and of models share, and the push of a run's model."""
