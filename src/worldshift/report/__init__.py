"""What becomes of raw rows: statistics with intervals, and figures."""
