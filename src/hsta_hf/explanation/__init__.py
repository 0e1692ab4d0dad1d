"""Explanation: which patches of which stream carried a decision, drawn over the face and put to the deletion test."""

from hsta_hf.explanation.explain import METHODS, Explanation, explain_clip, region_table, relevance_maps

__all__ = ["METHODS", "Explanation", "explain_clip", "region_table", "relevance_maps"]
