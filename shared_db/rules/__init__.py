"""Pure rules of the data: no I/O, no database; used by both doors and by the adaptors."""
