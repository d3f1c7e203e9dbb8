"""Settings: typed models and the YAML they read."""
