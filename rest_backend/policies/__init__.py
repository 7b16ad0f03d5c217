"""Who may do what over REST: DiracX's rules, widened by named extensions; one module per resource.

Each extension exists because a legacy caller may do the same over RPC, so that whoever may call a legacy
method may make the requests it becomes (design.md, Decided once; rest-diracx.md 6.1 and 7).
"""
