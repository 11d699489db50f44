"""Nodes of the scene: what is read from them, and what answers become."""
