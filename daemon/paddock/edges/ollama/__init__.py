"""Ollama's API, translated to our nouns and errors."""

from paddock.edges.ollama.client import UNLOAD_S as UNLOAD_S
from paddock.edges.ollama.client import Ollama as Ollama
