"""Experiments behind the README's numbers: a recipe's rows are run one by one, compared, and reported."""
