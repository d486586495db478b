"""Inference services in simulated time: how requests are served, by which replicas, and how long that takes."""
