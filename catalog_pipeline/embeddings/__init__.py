"""From accepted images to vectors: the model, the encoder, the parts on disk, and the stage."""
