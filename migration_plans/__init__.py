"""The plan that says which side answers a method: schema, loading, watching; and ready-made plans."""
