"""The models folder that Ollama and Paddock share."""

from paddock.edges.store.writer import Store as Store
