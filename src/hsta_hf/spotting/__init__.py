"""Micro-expressions found in long recordings: the movement curve, intervals, the metric, tables and pictures."""
