"""``python -m llmboost`` is the command line."""

from .cli import main

main()
