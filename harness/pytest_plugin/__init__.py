"""Floor 7: pytest runs scenario files. One item for each cell; it passes when the cell is as its strategy expects."""
