"""Explanations of answers: computed in a process of their own, one after the other."""
