"""Adapting a model to a user's cases: adapters on a frozen base."""
