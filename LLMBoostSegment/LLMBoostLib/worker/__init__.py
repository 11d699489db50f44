"""The process that computes: starting it, asking it, ending it."""
