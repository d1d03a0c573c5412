"""Training of the segmentation networks, beside the main job and never imported by it.

python -m reprocess.train --out weights.safetensors --frames 4000 --minutes 30 --seed 1
"""
