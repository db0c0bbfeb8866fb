"""What a seed keeps on disk."""
