"""Legacy meaning to REST meaning: conversations, the router that runs them, and the comparison of replies."""
