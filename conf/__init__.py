"""Configuration: one folder a config group, one YAML file a choice; read by Hydra in the `__main__` modules."""
