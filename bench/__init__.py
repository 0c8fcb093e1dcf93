"""Measurements as ratios against a baseline in the same run: `make bench`. Absolute figures belong to one
machine only.
"""
