"""The demo's own checkpoint, which comes with the package: small, and knowing what it shows.

It knows the garments of the sample stores in words and in pictures, and nothing else of the world.
`python -m training train`, beside the package in the repository, is what made it.
"""

from __future__ import annotations

from pathlib import Path

DEMO_MODEL = f"local-dir:{Path(__file__).parent / 'checkpoint' / 'demo-clip'}"
