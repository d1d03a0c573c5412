"""A simulated all-sky camera: scenes, pictures, their truth and the sample archive.

Written apart from the detectors and the geometry it serves to test.
"""
