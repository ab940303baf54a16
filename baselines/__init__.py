"""The methods that every result is compared with: one file each, exactly what a user would write."""
