"""Notebooks that answer five questions from the tables; `python -m notebooks` runs them and saves their outputs."""
