"""Where things live: finding, telling apart and publishing files."""
