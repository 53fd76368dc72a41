"""Pictures that people look at: contact sheets, plots, and how small they must be.

Only drawing is here: what is shown, and where it is shown, belongs to the callers.
"""
