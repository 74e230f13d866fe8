"""Measures of the flows on real servers, each as a ratio within one run."""
