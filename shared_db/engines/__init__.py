"""What differs between database engines, one module each; everything else is shared."""
