"""Whether each store is as it should be, and how all of them stand: questions, never changes."""
