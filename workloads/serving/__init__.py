"""How long replicas of inference services take for requests: forms, and profiles of measured ones."""

from workloads.serving.batch_times import BatchTimes
from workloads.serving.llm_times import LlmTimes
from workloads.serving.profile import ServingProfile, load_llm_times, load_serving_profile, write_serving_profile
from workloads.serving.service_times import ServiceTimes

__all__ = [
    "BatchTimes",
    "LlmTimes",
    "ServiceTimes",
    "ServingProfile",
    "load_llm_times",
    "load_serving_profile",
    "write_serving_profile",
]
