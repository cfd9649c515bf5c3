"""Measurements behind `opscore bench`: figures for the engine as it is run, never timed tests."""
