"""Manifests, as Kubernetes and its like read them: documents, their fields, quantities, and what a pod asks for.

Each field is used, or ignored by name, or refused: see `Fields`.
"""

from workloads.manifests.documents import load_documents
from workloads.manifests.fields import Fields, ManifestError

__all__ = ["Fields", "ManifestError", "load_documents"]
