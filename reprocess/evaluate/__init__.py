"""How far a network can be trusted: `reprocess evaluate`, on labelled images of any origin.

Beside the main job and never imported by it. `docs/evaluation.md` tells how to
read what comes out.
"""
