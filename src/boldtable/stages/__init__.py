"""The nine stages, one module or folder each; they meet only through files."""
