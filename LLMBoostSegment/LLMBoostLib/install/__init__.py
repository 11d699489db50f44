"""Packages that the computation needs, and what this machine has."""
