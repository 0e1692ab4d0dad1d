"""What the paper reports, as data: its tables, the settings of their rows, and what its text claims of them."""

from hsta_hf.paper.tables import Claim, PaperRow, PaperTable, load_tables

__all__ = ["Claim", "PaperRow", "PaperTable", "load_tables"]
