"""The demo grid: a throw-away CA, users, database and every listener on one machine."""
