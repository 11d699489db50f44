"""Experiments behind the figures of docs/evidence.md: a recipe's rows are run one by one, compared, and reported."""
