"""Training of the segmentation networks (`reprocess train`), never imported by the main job."""
