"""Points in Qdrant: the index behind one protocol, its two engines, and the stage that fills it."""
