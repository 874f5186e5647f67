"""Cost distributions, and comparisons of auctions over many draws and rounds."""
