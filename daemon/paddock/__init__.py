"""Paddock keeps a host's Ollama models as models.yaml says."""

__version__ = "0.1.0"
