"""What names a backbone and what makes its features what they are."""
