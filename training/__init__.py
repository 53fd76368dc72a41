"""How the demo's checkpoint is made: drawn pictures and their captions in, an open_clip model out.

`python -m training` trains and measures; the product never imports this.
"""
