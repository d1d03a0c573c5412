"""Counts of right and wrong, thresholds, and intervals over days, against a truth.

Used for a sample's detections (`reprocess.simulate.score`) and for labelled
images (`reprocess.evaluate`).
"""
